package Laws::SQL;

# Laws/SQL.pm: the laws of sql/, and of the names that others use.

use strict;
use warnings;
use Laws;

my $parts = sql_parts();

law 'sql/order lists every part of the script, and nothing else', find => sub {
	my ($tree) = @_;
	return unless exists $tree->{'sql/order'};
	my %in_order = map { ("sql/$_.sql" => 1) } grep { !/^#/ } split /\n/, $tree->{'sql/order'};
	my %part = map { ($_ => 1) } grep { $_ =~ $parts } keys %$tree;
	return (map { "$_:1: is not in sql/order" } sort grep { !$in_order{$_} } keys %part),
	  (map { "sql/order:1: there is no $_" } sort grep { !$part{$_} } keys %in_order);
  },
  planted => { 'sql/order' => "# parts\na\n", 'sql/b.sql' => '' },
  lawful => { 'sql/order' => "# parts\na/b\n", 'sql/a/b.sql' => '' };

law 'the script creates objects, and never takes one that is there',
  find => sub { return lines_matching($_[0], $parts, qr/IF\s+NOT\s+EXISTS\s+[a-z(]/i) },
  planted => { 'sql/a.sql' => 'CREATE TABLE IF NOT EXISTS a ()' },
  lawful => { 'sql/a.sql' => 'IF NOT EXISTS (SELECT FROM pg_class) THEN' =~ s/EXISTS \(/FOUND (/r };

law 'a part says CREATE OR REPLACE where PostgreSQL can, for the update script', find => sub {
	return lines_matching($_[0], $parts,
		qr/^CREATE (FUNCTION|VIEW|AGGREGATE|TRIGGER|PROCEDURE|RULE)\b/i);
  },
  planted => {
	'sql/a.sql' => 'CREATE FUNCTION a() RETURNS int',
	'sql/b.sql' => 'CREATE VIEW b AS'
  },
  lawful =>
  { 'sql/a.sql' => "CREATE OR REPLACE VIEW a AS\nCREATE EVENT TRIGGER b\nCREATE TABLE c (" };

law 'grants stand on one page, sql/grants.sql', find => sub {
	return lines_matching(
		$_[0],
		qr/^sql\/(?!grants\.sql|prelude\.sql|update\/|cozi--).*\.sql$/,
		qr/^(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES) /);
  },
  planted => {
	'sql/edge/a.sql' => 'GRANT SELECT ON a TO PUBLIC;',
	'sql/b.sql' => 'REVOKE ALL ON FUNCTION b() FROM PUBLIC;'
  },
  lawful => { 'sql/grants.sql' => 'GRANT SELECT ON a TO PUBLIC;' };

law 'a script has no command of psql but the \echo of its first line',
  find => sub { return lines_matching($_[0], $parts, qr/^\\(?!echo Use)/) },
  planted => { 'sql/a.sql' => '\gexec' },
  lawful => { 'sql/a.sql' => '\echo Use "CREATE EXTENSION cozi" to load this file. \quit' };

law 'a script is ASCII, for databases of every encoding',
  find => sub { return lines_matching($_[0], $parts, qr/[^\x00-\x7f]/) },
  planted => { 'sql/a.sql' => "-- na\xc3\xafve" },
  lawful => { 'sql/a.sql' => '-- naive' };

law 'SQL says LANGUAGE C',
  find => sub { return lines_matching($_[0], $parts, qr/\bLANGUAGE c\b|\blanguage C\b/) },
  planted => { 'sql/a.sql' => 'LANGUAGE c STABLE' },
  lawful => { 'sql/a.sql' => 'LANGUAGE C STABLE' };

# Every CREATE FUNCTION up to its body: file, line, head.
sub heads
{
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $parts } keys %$tree)
	{
		while ($tree->{$file} =~
			/^(CREATE OR REPLACE FUNCTION .*?(?:\bAS\b|BEGIN ATOMIC|^\s*RETURN\b|;\n))/msg)
		{
			push @found, [ "$file:" . (1 + (substr($tree->{$file}, 0, $-[0]) =~ tr/\n//)), $1 ];
		}
	}
	return @found;
}

law 'the default of an argument is written "= value"', find => sub {
	return map { "$_->[0]: DEFAULT" } grep { $_->[1] =~ /\bDEFAULT\b/ } heads($_[0]);
  },
  planted =>
  { 'sql/a.sql' => "CREATE OR REPLACE FUNCTION a(b int,\n c int DEFAULT 1) RETURNS int\nAS" },
  lawful => { 'sql/a.sql' =>
	  "CREATE OR REPLACE FUNCTION a(b int = 1) RETURNS int AS\nCREATE TABLE c (d int DEFAULT 1);" };

law 'a function says how volatile it is', find => sub {
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $parts } keys %$tree)
	{
		while (
			$tree->{$file} =~ /^(CREATE OR REPLACE FUNCTION (\w+).*?)(?=^CREATE |^COMMENT |\z)/msg)
		{
			my ($line, $create, $name) =
			  (1 + (substr($tree->{$file}, 0, $-[0]) =~ tr/\n//), $1, $2);
			push @found, "$file:$line: $name"
			  if $create !~ /\b(IMMUTABLE|STABLE|VOLATILE)\b/
			  || $create !~ /\bPARALLEL\b/ && $create !~ /RETURNS (event_)?trigger/;
		}
	}
	return @found;
  },
  planted => {
	'sql/a.sql' => "CREATE OR REPLACE FUNCTION a() RETURNS int\n LANGUAGE C PARALLEL SAFE AS 'a';",
	'sql/b.sql' => "CREATE OR REPLACE FUNCTION b() RETURNS int\n LANGUAGE C STABLE AS 'b';"
  },
  lawful => { 'sql/a.sql' =>
	  "CREATE OR REPLACE FUNCTION a() RETURNS int\n LANGUAGE C STABLE PARALLEL SAFE AS 'a';" };

# The comments: file and line, kind of object, text.
sub comments
{
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $parts } keys %$tree)
	{
		while (
			$tree->{$file} =~ /^COMMENT ON ([A-Z ]+) ([^;']*?) IS\s+((?:E?'(?:[^']|'')*'\s*)+);/mg)
		{
			my ($place, $kind, $object, $text) =
			  ("$file:" . (1 + (substr($tree->{$file}, 0, $-[0]) =~ tr/\n//)), $1, $2, $3);
			$text =~ s/'\s*\n\s*'//g;
			push @found, [ $place, $kind, $object, $text =~ s/^E?'|'\s*\z//gr ];
		}
	}
	return @found;
}

law 'the comment of a function begins with a verb in the third person', find => sub {
	return map { "$_->[0]: $_->[3]" }
	  grep     { $_->[1] =~ /^(FUNCTION|AGGREGATE|PROCEDURE)$/ && $_->[3] !~ /^[A-Z][a-z]+s\b/ }
	  comments($_[0]);
  },
  planted => {
	'sql/a.sql' => "COMMENT ON FUNCTION a() IS 'the answer';",
	'sql/b.sql' => "COMMENT ON AGGREGATE b(int) IS\n'Return the answer';"
  },
  lawful => { 'sql/a.sql' =>
	  "COMMENT ON FUNCTION a() IS\n'Returns the '\n'answer';\nCOMMENT ON TABLE b IS 'the answers';"
  };

law 'the comment of a view begins with "One row per"', find => sub {
	return map { "$_->[0]: $_->[3]" }
	  grep     { $_->[1] eq 'VIEW' && $_->[3] !~ /^One row per\b|^No row if\b|^One row:/ }
	  comments($_[0]);
  },
  planted => { 'sql/a.sql' => "COMMENT ON VIEW a IS 'the answers';" },
  lawful => { 'sql/a.sql' => "COMMENT ON VIEW a IS 'One row per answer';" };

# What users read.
my $shown = qr/^(src\/|sql\/(?!cozi--)|doc\/|demo\/|bench\/|debian\/|[A-Z]+\.md$|META\.json$)/;

law 'every function that a text calls exists: cozi.name()', find => sub {
	my ($tree) = @_;
	my $name = sql_names($tree);
	return grep {
		my ($line) = m{^[^:]+:\d+: (.*)}s;
		grep { !$name->{ lc $_ } } $line =~ /\bcozi\.(\w+)\(/g;
	} lines_matching($tree, $shown, qr/\bcozi\.\w+\(/);
  },
  planted => {
	'src/sharding/a.c' => 'errhint("Use cozi.split_plan() to split them further.")',
	'doc/sharding.md' => 'SELECT cozi.split_plan(4);',
	'sql/b.sql' => "COMMENT ON FUNCTION a() IS 'Returns cozi.b()';"
  },
  lawful => {
	'sql/a.sql' => "CREATE OR REPLACE FUNCTION a() RETURNS int\n",
	'doc/sharding.md' => 'SELECT cozi.a();'
  };

law 'every object and setting that a text names exists: cozi.name', find => sub {
	my ($tree) = @_;
	my $name = sql_names($tree);
	my %known = map { ($_ => 1) } qw(c control so md conf protect);
	foreach my $text (map { $tree->{$_} } grep { /^src\/.*\.[ch]$/ } keys %$tree)
	{
		$known{$1} = 1 while $text =~ /"cozi\.(\w+)"/g;
	}
	foreach my $file (grep { $_ =~ $parts } keys %$tree)
	{
		# what the parts make without CREATE: columns that are types, sequences
		$known{$1} = 1 while $tree->{$file} =~ /'cozi\.(\w+)'/g;
	}
	return grep {
		my ($line) = m{^[^:]+:\d+: (.*)}s;
		grep { !$name->{ lc $_ } && !$known{$_} && !/_$/ }
		  $line =~ /(?<![\w\/.-])cozi\.([a-z]\w*)\b(?![\/(*])/g;
	} lines_matching($tree, $shown, qr/\bcozi\.[a-z]/);
  },
  planted => { 'doc/a.md' => 'see `cozi.missing`', 'src/edge/a.c' => '/* cozi.gone */' },
  lawful => {
	'sql/a.sql' => 'CREATE OR REPLACE VIEW a AS',
	'doc/a.md' => 'cozi.a, /etc/cozi.x, cozi.control'
  };

law 'a function that no page names is a helper, and begins with an underscore', find => sub {
	my ($tree) = @_;
	my $pages = join "\n", map { $tree->{$_} } grep { /^(doc\/.*|README)\.md$/ } keys %$tree;
	my @found;
	foreach (lines_matching($tree, $parts, qr/^CREATE OR REPLACE (?:FUNCTION|AGGREGATE) [a-z]/))
	{
		my ($name) = /(?:FUNCTION|AGGREGATE) (\w+)/;
		push @found, $_ if $pages !~ /\b\Q$name\E\(|`(?:cozi\.)?\Q$name\E`|\bcozi\.\Q$name\E\b/;
	}
	return @found;
  },
  planted =>
  { 'sql/a.sql' => 'CREATE OR REPLACE FUNCTION helper() RETURNS int', 'doc/a.md' => 'a helper' },
  at_least => 1,
  lawful => {
	'sql/a.sql' =>
	  "CREATE OR REPLACE FUNCTION _helper() RETURNS int\nCREATE OR REPLACE FUNCTION top() RETURNS int",
	'doc/a.md' => 'Call `top`.'
  };

1;
