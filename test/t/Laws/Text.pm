package Laws::Text;

# Laws/Text.pm: the laws of every text, of tests and of commits.

use strict;
use warnings;
use Laws;

# The laws and their planted texts would break the laws.
my $text = qr/^(?!test\/t\/Laws)/;
my $code =
  qr/^(src\/.*\.[ch]|sql\/(?!cozi--).*\.sql|sql\/build|(test|demo|bench)\/(?!data\/|t\/Laws).*\.(sql|spec|p[lm]|c)|(test|demo|bench)\/(run|format|server\.sh)|\.ci\/run)$/;
my $script =
  qr/^(test\/(run|server\.sh|format)|demo\/run|bench\/run|sql\/build|\.ci\/run|.*\.p[lm]|Makefile)$/;

law 'nothing is left to do', find => sub {
	return grep { !/mktemp/ } lines_matching($_[0], $text, qr/\b(TODO|FIXME|XXX|HACK)\b(?!\/)/);
  },
  planted => { 'src/a.c' => '/* TODO */', 'doc/a.md' => 'FIXME' },
  lawful => { 'test/run' => 'mktemp cozi.XXXXXX' };

law 'no text knows the path of a machine',
  find => sub { return lines_matching($_[0], $text, qr{(?<![\w\$])/(work|root)/|/home/[a-z]+/}) },
  planted => { 'src/a.c' => '/* see /work/notes */', 'doc/a.md' => '/home/ann/x' },
  lawful => { 'test/run' => '$dir/work/x' };

law 'a line does not end with white space',
  find =>
  sub { return lines_matching($_[0], qr/^(?!test\/t\/Laws|test\/sql\/|.*\.md$)/, qr/[ \t\r]+$/) },
  planted => { 'src/a.c' => "a; \nb;", 'test/run' => "a\t\n" },
  lawful => { 'src/a.c' => "a;\nb;\n" };

law 'a text ends with the end of its last line, and has no empty one there', find => sub {
	my ($tree) = @_;
	return
	  map { "$_:1: end" }
	  sort grep { $_ =~ $text && $tree->{$_} !~ /[^\n]\n\z/ && length $tree->{$_} } keys %$tree;
  },
  planted => { 'src/a.c' => 'a', 'src/b.c' => "a\n\n" },
  lawful => { 'src/a.c' => "a\n" };

law 'the version stands in cozi.control, META.json and the logs of changes', find => sub {
	my ($tree) = @_;
	my ($version) = ($tree->{'cozi.control'} // '') =~ /^default_version\s*=\s*'(.*)'/m or return;
	return lines_matching($tree,
		qr/^(?!test\/t\/Laws|cozi\.control|META\.json|CHANGELOG|README|debian\/|doc\/)/,
		qr/\b\Q$version\E\b/);
  },
  planted => { 'Makefile' => 'EXTVERSION = 9.8.7' },
  beside => { 'cozi.control' => "default_version = '9.8.7'\n" },
  lawful => { 'cozi.control' => "default_version = '9.8.7'\n", 'CHANGELOG.md' => '## 9.8.7' };

law 'a file has at most 500 lines', find => sub {
	my ($tree) = @_;
	return map  { my $lines = $tree->{$_} =~ tr/\n//; $lines > 500 ? "$_:$lines: too long" : () }
	  sort grep { $_                      =~ $code || /^(doc\/)?\w+\.md$/ } keys %$tree;
  },
  planted => { 'src/a.c' => "x\n" x 501, 'doc/a.md' => "x\n" x 501 },
  lawful => { 'src/a.c' => "x\n" x 500 };

law 'README.md has at most 180 lines', find => sub {
	my $lines = ($_[0]->{'README.md'} // '') =~ tr/\n//;
	return $lines > 180 ? "README.md:$lines: too long" : ();
  },
  planted => { 'README.md' => "x\n" x 181 },
  lawful => { 'README.md' => "x\n" x 180, 'doc/README.md' => "x\n" x 181 };

# A part that is generated from a table, NAME.tsv, is nobody's to read.
law 'a line of C, SQL or a test has at most 100 columns', find => sub {
	my ($tree) = @_;
	return grep {
		my ($file, $line) = m{^([^:]+):\d+: (.*)}s;
		columns($line) > 100 && !($file =~ s{\.sql$}{.tsv} && exists $tree->{$file});
	} lines_matching($tree, $code, qr/.{80}/);
  },
  planted => {
	'src/a.c' => 'x' x 101,
	'sql/a.sql' => '-- ' . 'x' x 98,
	'test/t/edge_a.pl' => "\t" x 5 . 'x' x 81
  },
  lawful => {
	'src/a.c' => 'x' x 100,
	'sql/b.sql' => 'x' x 101,
	'sql/b.tsv' => "x\n",
	'test/t/edge_a.pl' => "\t" x 5 . 'x' x 80
  };

law 'a line of documentation has at most 120 columns', find => sub {
	return
	  grep { my ($line) = m{^[^:]+:\d+: (.*)}s; columns($line) > 120 }
	  lines_matching($_[0], qr/\.md$/, qr/.{100}/);
  },
  planted => { 'doc/a.md' => 'x' x 121 },
  lawful => { 'doc/a.md' => "\xc3\xa9" x 120 };

law 'no file has rulers', find => sub {
	return lines_matching($_[0], qr/$code|$script/,
		qr{^\s*(/\*+|\*|//|#|--)\s*[-=*~#_]{4,}|^\s*(/\*|#|--)\s*[-=]{3,}\s+\w.*[-=*~#]{3,}|^\s*/\*\s*-{3,}}
	);
  },
  planted => {
	'src/a.c' => '/* ---- the keys ---- */',
	'src/b.c' => '/*------------------',
	'test/run' => '# --- counting -------------',
	'sql/a.sql' => '-- ====='
  },
  lawful => { 'src/a.c' => '/* -1 is none */', 'test/run' => '# --long' };

law 'no text says whoever, whomever, its like or for who',
  find => sub { return lines_matching($_[0], $text, qr/\b(whoever|whomever|its like|for who)\b/i) },
  planted => { 'doc/a.md' => 'Whoever reads this', 'src/a.c' => '/* and its like */' },
  lawful => { 'doc/a.md' => 'the caller' };

law 'the name of a test is a sentence of its own', find => sub {
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ qr/^test\/(t\/\w+\.p[lm]|pgtap\/\w+\.sql)$/ } keys %$tree)
	{
		while ($tree->{$file} =~
			/[,(]\s*(["'])((?:and|nor|so|it|which|once|but|or|then)\b(?:[^"'\\\n]|\\.|'')*)\g1\s*\)\s*;/gi
		  )
		{
			push @found, "$file:" . (1 + (substr($tree->{$file}, 0, $-[0]) =~ tr/\n//)) . ": $2";
		}
	}
	return @found;
  },
  planted => {
	'test/t/edge_a.pl' => "is(1, 1,\n\t'and once more');",
	'test/t/edge_b.pl' => 'ok(1, "it\'s $what");' =~ s/'s/ is/r,
	'test/pgtap/edge.sql' => "SELECT is_empty(\$\$SELECT\$\$,\n    'nor to a column of one');"
  },
  lawful => { 'test/t/edge_a.pl' =>
	  "is(1, 1, 'an edge is dropped once');\nlike(\$x, qr/so/, 'item is kept');" };

law 'a psql in the background is a House::session, which has a timeout for each query', find => sub {
	return lines_matching($_[0], qr{^test/t/(?!House\.pm|Laws/).*\.p[lm]$}, qr/->background_psql\b/);
  },
  planted => { 'test/t/edge_a.pl' => "my \$s = \$node->background_psql('postgres');" },
  lawful => { 'test/t/edge_a.pl' => "my \$s = House::session(\$node, 'postgres');" };

law 'a file of tests, of a bench or of the tour begins with the name of its room', find => sub {
	my ($tree) = @_;
	my %room = map { ($_ => 1) } qw(house), map { m{^(?:src|sql)/(\w+)/} ? $1 : () } keys %$tree;
	return map { "$_:1: no room" } sort grep {
			 m{^(?:test/(?:sql|specs|pgtap|t)|bench|expected)/([a-z]+)[\w]*\.(?:sql|spec|pl|c|out)$}
		  && !$room{$1}
		  && !m{/signature\.sql$};
	} keys %$tree;
  },
  planted => { 'test/t/attic_a.pl' => "x\n", 'test/sql/attic.sql' => "x\n" },
  lawful => {
	'src/edge/a.c' => "x\n",
	'test/t/edge_a.pl' => "x\n",
	'sql/nodes/a.sql' => "x\n",
	'test/t/nodes_a.pl' => "x\n",
	'test/sql/house.sql' => "x\n"
  };

# The tree holds the subject of the newest commit, where there is one, as a file.
law 'the subject of a commit is "room: what changed", of at most 72 characters', find => sub {
	my ($tree) = @_;
	my $subject = $tree->{'.git/subject'} // return;
	chomp $subject;
	return if $subject =~ /^Merge /;
	return
	  if length $subject <= 72
	  && $subject =~ /^[a-z]+(, [a-z]+)*: [a-z](?!\w*(?:ed|ing) )[^\n]*[^.\n]$/;
	return ".git/subject:1: $subject";
  },
  planted => { '.git/subject' => "Include what 19 no longer does by itself\n" },
  lawful => { '.git/subject' => "house: give every file a room, and every room a floor\n" };

1;
