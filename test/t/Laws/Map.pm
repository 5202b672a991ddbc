package Laws::Map;

# Laws/Map.pm: src/README.md is the map of src/.  One line a file, and the line
# is the first sentence of the file's head: test/map --write copies it.

use strict;
use warnings;
use Laws;

# The line of a file, from the comment at its top.
sub map_line
{
	my ($file, $text) = @_;
	my ($head) = $text =~ m{\A/\*\n \* [^\n]*\n(.*?)(?:\n \*\n|\s*\*/)}s or return;
	$head =~ s/^ \*\s*//mg;
	$head =~ s/\s+/ /g;
	my ($sentence) = $head =~ /\A(.*?)[.:]?(?: *\z|\. )/;
	return '| `' . ($file =~ s{^src/}{}r) . "` | $sentence |";
}

# The files of a room in the order of the map: its front door, its header, the rest.
sub files_of
{
	my ($tree, $room) = @_;
	my $rank = sub { $_[0] =~ m{/init\.c$} ? 0 : $_[0] =~ m{/$room\.h$} ? 1 : 2 };
	return
	  sort { $rank->($a) <=> $rank->($b) || $a cmp $b }
	  grep { m{^src/$room/\w+\.[ch]$} } keys %$tree;
}

law 'each file of src/ has its line in src/README.md, the first sentence of its head',
  find => sub {
	my ($tree) = @_;
	my $map = $tree->{'src/README.md'} // '';
	my @found;
	foreach my $file (sort grep { m{^src/\w+/\w+\.[ch]$} } keys %$tree)
	{
		my $line = map_line($file, $tree->{$file});
		push @found, "$file:1: not in src/README.md: run test/map --write"
		  unless defined $line && index($map, "$line\n") >= 0;
	}
	while ($map =~ /^\| `(\w+\/\w+\.[ch])` \|/mg)
	{
		push @found, "src/README.md: there is no src/$1" unless exists $tree->{"src/$1"};
	}
	return @found;
  },
  planted => {
	'src/edge/a.c' => "/*\n * edge/a.c\n *\t\tWhat is not on the map.\n */\n",
	'src/README.md' => "| `edge/b.c` | What is no longer there |\n"
  },
  lawful => {
	'src/edge/a.c' => "/*\n * edge/a.c\n *\t\tA file, of\n *\t\ttwo lines.  More.\n */\n",
	'src/README.md' => "| `edge/a.c` | A file, of two lines |\n"
  };

1;
