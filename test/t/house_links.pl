# Every relative link of the pages leads to a file that is there, and to a
# heading of it, as GitHub makes anchors of headings.
use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

# The anchors of a page: lower case, no punctuation, blanks as hyphens.
sub anchors
{
	my ($page) = @_;
	my %anchor;

	$page =~ s/^```.*?^```//msg;
	foreach my $heading ($page =~ /^#+ +(.+)$/mg)
	{
		$heading =~ s/\[(.*?)\]\(.*?\)/$1/g;
		(my $name = lc $heading) =~ s/[^\w\- ]//g;
		$name =~ s/ /-/g;
		my $n = $anchor{$name}++;
		$anchor{"$name-$n"} = 1 if $n;
	}
	return %anchor;
}

# The links of a page that lead nowhere.
sub dead_links
{
	my ($file, $page) = @_;
	my @dead;

	$page =~ s/^```.*?^```//msg;
	while ($page =~ /\]\(([^)\s]+)\)/g)
	{
		my ($path, $anchor) = split /#/, $1, 2;
		next if $path =~ /^(https?|mailto):/;
		my $target = $path eq '' ? $file : dirname($file) . "/$path";
		if (!-e $target) { push @dead, $1 }
		elsif (defined $anchor)
		{
			my %anchor = anchors(slurp_file($target));
			push @dead, "$path#$anchor" if !$anchor{$anchor};
		}
	}
	return @dead;
}

my @pages = (glob('*.md'), glob('*/*.md'), glob('demo/data/*.md'));
cmp_ok(scalar @pages, '>', 10, 'there are pages');
foreach my $file (@pages)
{
	is(join("\n", dead_links($file, slurp_file($file))), '', "every link of $file leads somewhere");
}

is_deeply(
	[   dead_links(
			'README.md', "[a](nothing.md) [b](#two-commands) [c](#no-such-heading) [d](doc)")
	],
	[ 'nothing.md', '#no-such-heading' ],
	'a dead link is found, and a good one is not');

done_testing();
