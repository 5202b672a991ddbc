
# The laws of the house that can be read off the files, and the library.
#
# Laws/*.pm hold the laws.  Here each of them is asked about the checkout, and put
# to the test itself: it finds every planted violation, and nothing in what is
# lawful.  No room is exempt.

use strict;
use warnings;
use File::Spec;
use FindBin;
use lib $FindBin::Bin;
use Laws;
use Laws::C;
use Laws::SQL;
use Laws::Map;
use Laws::Text;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = Laws::tree();
cmp_ok(scalar(keys %$tree), '>', 150, 'the files of the checkout are read');
ok(exists $tree->{$_}, "the laws look at $_")
  foreach qw(src/cozi.c sql/prelude.sql test/run test/t/House.pm README.md Makefile);

# The subject of the newest commit: from test/run, whose copy has no .git.
my $subject = $ENV{COZI_COMMIT} // `git log -1 --format=%s 2>@{[ File::Spec->devnull ]}`;
chomp $subject;
$tree->{'.git/subject'} = "$subject\n" if $subject;

foreach my $law (@Laws::laws)
{
	my ($sentence, $find) = @$law{qw(sentence find)};

	is(join("\n", sort $find->($tree)), '', $sentence);

	# the law itself
	my %beside = %{ $law->{beside} // {} };
	my @found = $find->({ %beside, %{ $law->{planted} } });
	foreach my $file (sort keys %{ $law->{planted} })
	{
		next if $law->{at_least} && @found >= $law->{at_least};
		ok( scalar(grep { /^\Q$file\E(:|$)/ } @found),
			"a violation planted in $file is found: $sentence") or diag(join "\n", @found);
	}
	cmp_ok(scalar @found, '>=', $law->{at_least}, "a planted violation is found: $sentence")
	  if $law->{at_least};
	is(join("\n", $find->({ %beside, %{ $law->{lawful} } })),
		'', "what is lawful is not found: $sentence");
}

# The version stands in cozi.control; what has to repeat it agrees.
my ($version) = $tree->{'cozi.control'} =~ /^default_version\s*=\s*'(.*)'/m;
is(join(' ', $tree->{'META.json'} =~ /"version": "([^"]+)",?$/mg),
	"$version $version 1.0.0", 'META.json names the version of cozi.control');
like(
	$tree->{'CHANGELOG.md'},
	qr/\A## \Q$version\E /,
	'the newest entry of CHANGELOG.md is this version');
like(
	$tree->{'debian/changelog'},
	qr/\Acozi \(\Q$version\E-/,
	'the newest entry of debian/changelog is this version');

# Symbols of a library loaded into the server meet those of all others.
my $library = `pg_config --pkglibdir`;
chomp $library;
$library .= '/cozi.so';
my @symbols = map { (split)[2] } grep { / [TDBR] / } `nm -D --defined-only $library`;
ok(scalar(grep { $_ eq '_PG_init' } @symbols), 'the symbols of the library are read');
is( join("\n", grep { !/^(cozi_|pg_finfo_cozi_|_PG_init$|Pg_magic_func$|_init$|_fini$)/ } @symbols),
	'',
	'every symbol that the library exports begins with cozi_');

done_testing();
