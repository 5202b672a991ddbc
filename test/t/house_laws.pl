
# The laws of the house that can be read off the files: which file may say
# what, and who may include whom.

use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

sub lines_matching
{
	my ($re, @files) = @_;
	my @found;
	foreach my $file (@files)
	{
		my $n = 0;
		foreach (split /\n/, slurp_file($file))
		{
			$n++;
			push @found, "$file:$n: $_" if /$re/;
		}
	}
	return join "\n", @found;
}

my @c = glob('src/*.c src/*/*.[ch]');
my @parts = grep { !/--/ } glob('sql/*.sql sql/*/*.sql');
my @released = grep { /--/ } glob('sql/*.sql');
my @scripts = ('test/run', 'test/server.sh', 'test/format', 'demo/run', 'bench/run', '.ci/run');
my @text = (
	@c, @parts, @scripts, 'Makefile', 'sql/order',
	glob('*.md'), glob('doc/*.md'), glob('demo/*.sql'), glob('demo/tour/*.sql'),
	glob('bench/*.p[lm]'), glob('test/*.md'), glob('test/sql/*.sql'), glob('test/pgtap/*.sql'),
	glob('test/t/*.p[lm]'), glob('test/specs/*.spec'), glob('expected/*.out'), glob('debian/*'),
	glob('.github/workflows/*'), 'META.json', 'Dockerfile');
@text = grep { -f && $_ ne 'test/t/house_laws.pl' } @text;

my $makefile = slurp_file('Makefile');
my @in_order = grep { !/^#/ } split /\n/, slurp_file('sql/order');

# The rooms of src/, each with its floor.
my %floor = (
	pure => 0, base => 1,
	identity => 2, sharding => 2, ratelimit => 2,
	edge => 3, trending => 3, monitor => 3,
	policy => 4);
my ($version) = slurp_file('cozi.control') =~ /^default_version\s*=\s*'(.*)'/m;

is(lines_matching(qr/PG_VERSION_NUM/, grep { $_ ne 'src/base/compat.h' } @c),
	'', 'only src/base/compat.h knows the server\'s version');

# An include names its room and goes down only; src/cozi.c includes them all.
my @upward;
foreach my $file (@c)
{
	my ($own) = $file =~ m{^src/(\w+)/};
	foreach my $included (slurp_file($file) =~ /^#include "(.*)"/mg)
	{
		my ($other) = $included =~ m{^(\w+)/};
		next if !defined $other || !defined $floor{$other};
		push @upward, "$file includes $included"
		  if $own && $own ne $other && $floor{$own} <= $floor{$other};
	}
}
is(join("\n", @upward), '', 'an include goes down to a lower floor, or stays in its room');

is_deeply([ sort @in_order ], [ sort map { m{^sql/(.*)\.sql$} } @parts ],
	'every part of sql/ is in sql/order');

is(lines_matching(qr/IF\s+NOT\s+EXISTS\s+[a-z(]/i, @parts),
	'', 'the script creates, and never takes what somebody left there');
is(lines_matching(qr/^\\(?!echo Use)/, @parts), '', 'no psql command in the script');
is(lines_matching(qr/[^\x00-\x7f]/, @parts), '', 'the script is ASCII, for databases of every encoding');
is(lines_matching(qr/\b(TODO|FIXME|XXX)\b/, grep { $_ ne 'test/run' } @text), '', 'nothing is left to do');
is(lines_matching(qr{/(work|root)/|/home/[a-z]+/}, @text), '', 'no path of a machine');
is(lines_matching(qr/[ \t]+$/, grep { !m{^expected|^test/sql|\.md$} } @text), '', 'no white space at the end of a line');
is(join("\n", grep { slurp_file($_) !~ /\n\z/ } @text), '', 'every file ends with its last line');

# The version stands in cozi.control; what has to repeat it agrees.
is(lines_matching(qr/\Q$version\E/, grep { !/^(CHANGELOG|README|debian|expected|doc)/ } @text),
	'', 'the version stands in cozi.control alone');
like(slurp_file('META.json'), qr/"version": "\@VERSION\@"/, 'and META.json takes it from there');
like(slurp_file('CHANGELOG.md'), qr/\A## \Q$version\E /, 'the newest entry of CHANGELOG.md is this version');
like(slurp_file('debian/changelog'), qr/\Acozi \(\Q$version\E-/, 'and the newest of debian/changelog');

# Errors carry a SQLSTATE and a message in the server's own style.
my (@no_code, @style);
foreach my $file (@c)
{
	my $text = slurp_file($file);
	while ($text =~ /\bereport\s*\(\s*(?:ERROR|FATAL|PANIC|elevel)\b(.*?)\)\s*;/sg)
	{
		my $call = $1;
		my $n = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
		push @no_code, "$file:$n" unless $call =~ /errcode|sqlstate/;
		while ($call =~ /errmsg(?:_internal|_plural)?\s*\(\s*"([^"]*(?:\\.[^"]*)*)"/g)
		{
			my $message = $1;
			push @style, "$file:$n: $message"
			  if $message =~ /^[A-Z][a-z]/ || $message =~ /[.!]$/;
		}
	}
}
is(join("\n", @no_code), '', 'every error has a SQLSTATE');
is(join("\n", @style), '', 'and a lower-case message without a full stop');

# Symbols of a library loaded into the server meet those of all others.
my $library = `pg_config --pkglibdir`;
chomp $library;
$library .= '/cozi.so';
my @symbols = map { (split)[2] } grep { / [TDBR] / } `nm -D --defined-only $library`;
ok(scalar(grep { $_ eq '_PG_init' } @symbols), 'the library was read');
is( join("\n", grep { !/^(cozi_|pg_finfo_cozi_|_PG_init$|Pg_magic_func$|_init$|_fini$)/ } @symbols),
	'', 'every symbol it exports begins with cozi_');

done_testing();
