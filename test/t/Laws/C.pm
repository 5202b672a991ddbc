package Laws::C;

# Laws/C.pm: the laws of src/.

use strict;
use warnings;
use Laws;

my $c = qr/^src\/.*\.[ch]$/;

# The floors: an include goes down, or stays in its room.
my %floor = (
	pure => 0,
	base => 1,
	identity => 2,
	sharding => 2,
	ratelimit => 2,
	kept => 2,
	edge => 3,
	trending => 3,
	counter => 3,
	analytics => 3,
	monitor => 3,
	policy => 4,
	advisor => 5,
	feeds => 5,
	live => 5,
	report => 6);

law 'an include goes down to a lower floor, or stays in its room', find => sub {
	my ($tree) = @_;
	my @found;
	foreach (lines_matching($tree, qr/^src\/.+\/.*\.[ch]$/, qr/^\s*#\s*include "/))
	{
		my ($own, $included) = m{^src/(\w+)/.*?"(.*)"};
		my ($room) = $included =~ m{^(\w+)/\w+\.h$};
		next if !defined $floor{$own};
		next if defined $room && $room eq $own;
		# the server's own headers are in folders of other names
		next
		  if $included =~
		  m{^(postgres|miscadmin|fmgr|funcapi|pgstat|pgtime|port|varatt|access)\.h$};
		next if defined $room && !defined $floor{$room};
		push @found, $_ if !defined $room || $floor{$room} >= $floor{$own};
	}
	return @found;
  },
  planted => {
	'src/pure/a.h' => '#include "base/base.h"',
	'src/identity/a.c' => '#include "sharding/hash.h"',
	'src/base/a.c' => '#include "../trending/board.h"',
	'src/policy/a.c' => '#include "policy.h"'
  },
  lawful => { 'src/policy/a.c' =>
	  qq(#include "postgres.h"\n#include "edge/edge.h"\n#include "utils/guc.h"\n) };

law 'every room of src/ has a floor', find => sub {
	my ($tree) = @_;
	return grep { !defined $floor{ (split /\//)[1] } } sort grep { m{^src/\w+/} } keys %$tree;
  },
  planted => { 'src/attic/a.c' => 'x' },
  lawful => { 'src/cozi.c' => 'x', 'src/pure/a.h' => 'x' };

law 'no header includes itself on the way through others', find => sub {
	my ($tree) = @_;
	my (%includes, %seen, @found);
	foreach my $file (grep { /^src\/.*\.h$/ } keys %$tree)
	{
		$includes{$file} = [ map { "src/$_" } $tree->{$file} =~ /^#include "(\w+\/\w+\.h)"/mg ];
	}
	my $visit;
	$visit = sub {
		my ($file, @path) = @_;
		if (grep { $_ eq $file } @path)
		{
			push @found, "$file:1: " . join(' includes ', @path, $file);
			return;
		}
		return if $seen{$file}++;
		$visit->($_, @path, $file) foreach grep { $includes{$_} } @{ $includes{$file} };
	};
	$visit->($_) foreach sort keys %includes;
	return @found;
  },
  planted => { 'src/edge/a.h' => '#include "edge/b.h"', 'src/edge/b.h' => '#include "edge/a.h"' },
  at_least => 1,
  lawful => { 'src/edge/a.h' => '#include "edge/b.h"', 'src/edge/b.h' => '#include "base/base.h"' };

law 'only src/base/compat.h asks for the version of the server', find => sub {
	my ($tree) = @_;
	return grep { !m{^src/base/compat\.h:} } lines_matching($tree, $c, qr/PG_VERSION_NUM/);
  },
  planted => { 'src/edge/a.c' => '#if PG_VERSION_NUM >= 160000' },
  lawful => { 'src/base/compat.h' => '#if PG_VERSION_NUM >= 160000' };

law 'settings that foreign code made are never kept: AtEOXact_GUC(false, ...)',
  find => sub { return lines_matching($_[0], $c, qr/AtEOXact_GUC\s*\(\s*true/) },
  planted => { 'src/edge/a.c' => "\tAtEOXact_GUC( true, level);" },
  lawful => { 'src/edge/a.c' => "\tAtEOXact_GUC(false, level);" };

# The calls of a function, each with its line: (line, arguments).
sub calls
{
	my ($text, $name) = @_;
	my @calls;
	while ($text =~ /\b$name\s*(\((?:[^()"']++|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'|(?1))*\))/g)
	{
		push @calls, [ 1 + (substr($text, 0, $-[0]) =~ tr/\n//), $1 ];
	}
	return @calls;
}

law 'SQL with more than three %s is built from a named template', find => sub {
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $c } keys %$tree)
	{
		foreach my $call (calls($tree->{$file}, '(?:psprintf|appendStringInfo)'))
		{
			my ($line, $arguments) = @$call;
			my $format = join '', $arguments =~ /"((?:[^"\\]|\\.)*)"/g;
			next
			  if $format !~
			  /\b(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|LOCK|TRUNCATE|EXECUTE)\b/;
			my $holes = () = $format =~ /%s/g;
			push @found, "$file:$line: $holes times %s" if $holes > 3;
		}
	}
	return @found;
  },
  planted =>
  { 'src/edge/a.c' => qq{x = psprintf("SELECT %s, %s"\n " FROM %s WHERE %s", a, b(c), d, e);} },
  lawful => {
	'src/edge/a.c' => 'x = psprintf("SELECT %s, %s FROM %s", a, b, c);',
	'src/edge/b.c' => 'x = psprintf("%s %s %s %s", a, b, c, d);'
  };

law 'PG_FUNCTION_INFO_V1 stands directly above the comment and the function', find => sub {
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $c } keys %$tree)
	{
		my $text = $tree->{$file};
		while ($text =~ /^PG_FUNCTION_INFO_V1\((\w+)\);\n/mg)
		{
			my ($name, $rest) = ($1, substr($text, $+[0]));
			next if $rest =~ /\A\n?(?:\/\*(?:(?!\*\/).)*\*\/\n+)?Datum\n\Q$name\E\(/s;
			push @found, "$file:" . (1 + (substr($text, 0, $-[0]) =~ tr/\n//)) . ": $name";
		}
	}
	return @found;
  },
  planted => { 'src/edge/a.c' =>
	  "PG_FUNCTION_INFO_V1(a);\nPG_FUNCTION_INFO_V1(b);\n\nDatum\na(PG_FUNCTION_ARGS)\n" },
  lawful => {
	'src/edge/a.c' => "PG_FUNCTION_INFO_V1(a);\n\n/* a() */\nDatum\na(PG_FUNCTION_ARGS)\n",
	'src/edge/b.c' => "PG_FUNCTION_INFO_V1(b);\nDatum\nb(PG_FUNCTION_ARGS)\n"
  };

# The definitions of functions: file, line, type, name, body.
sub definitions
{
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $c } keys %$tree)
	{
		my $text = $tree->{$file};
		while ($text =~ /^([a-zA-Z][^\n;(){}=#"]*)\n(\w+)\((?:[^;{}]*)\)\n\{\n(.*?)^\}/msg)
		{
			push @found,
			  {
				file => $file,
				line => 1 + (substr($text, 0, $-[0]) =~ tr/\n//),
				type => $1,
				name => $2,
				body => $3
			  };
		}
	}
	return @found;
}

law 'a name that leaves its file begins with cozi_', find => sub {
	my ($tree) = @_;
	return map { "$_->{file}:$_->{line}: $_->{name}" }
	  grep { $_->{type} !~ /\bstatic\b/ && $_->{name} !~ /^(cozi_|_PG_init$)/ } definitions($tree);
  },
  planted => { 'src/edge/a.c' => "int\nanswer(void)\n{\n\treturn 42;\n}\n" },
  lawful => {
	'src/edge/a.c' => "static int\nanswer(void)\n{\n\treturn 42;\n}\n",
	'src/edge/b.c' => "int\ncozi_answer(void)\n{\n\treturn 42;\n}\n"
  };

law 'no definition stands twice in src/', find => sub {
	my ($tree) = @_;
	my (%place, @found);
	foreach my $definition (definitions($tree))
	{
		my ($name, $place) = ($definition->{name}, "$definition->{file}:$definition->{line}");
		(my $body = $definition->{body}) =~ s/\s+/ /g;
		push @found, "$place: $name() is in $place{$name}, too" if $place{$name};
		push @found, "$place: $name() is the same as $place{$body}"
		  if !$place{$name} && $place{$body} && $definition->{body} =~ tr/\n// > 3;
		$place{$name} ||= $place;
		$place{$body} ||= $place;
	}
	foreach my $file (sort grep { $_ =~ $c } keys %$tree)
	{
		while ($tree->{$file} =~ /^(?:\}\s*|typedef (?:struct|enum|union) \w+\s+)(\w+);/mg)
		{
			my $place = "$file:" . (1 + (substr($tree->{$file}, 0, $-[0]) =~ tr/\n//));
			push @found, "$place: type $1 is in $place{$1}, too"
			  if $place{$1} && $place{$1} !~ /^\Q$file\E:/;
			$place{$1} ||= $place;
		}
	}
	return @found;
  },
  planted => {
	'src/edge/b.c' => "static int\nanswer(void)\n{\n\treturn 42;\n}\n",
	'src/edge/d.c' => "typedef struct Column\n{\n\tint a;\n} Column;\n",
	'src/edge/f.c' =>
	  "static int\nsix(void)\n{\n\tint a = 1;\n\n\ta++;\n\ta += 4;\n\treturn a;\n}\n"
  },
  lawful => { 'src/edge/g.c' => "static int\nother(void)\n{\n\treturn 42;\n}\n" },
  beside => {
	'src/edge/a.c' => "static long\nanswer(void)\n{\n\treturn 41;\n}\n",
	'src/edge/c.c' => "typedef struct Column\n{\n\tlong a;\n} Column;\n",
	'src/edge/e.c' =>
	  "static int\nfive(void)\n{\n\tint a = 1;\n\n\ta++;\n\ta += 4;\n\treturn a;\n}\n"
  };

law 'a function of src/ has at most 60 lines', find => sub {
	my ($tree) = @_;
	return map { "$_->{file}:$_->{line}: $_->{name}() has " . ($_->{body} =~ tr/\n//) . ' lines' }
	  grep { $_->{body} =~ tr/\n// > 60 } definitions($tree);
  },
  planted => { 'src/edge/a.c' => "static int\na(void)\n{\n" . "\tx();\n" x 61 . "}\n" },
  lawful => { 'src/edge/a.c' => "static int\na(void)\n{\n" . "\tx();\n" x 60 . "}\n" };

# The advisor will read cozi.api_roles; until then it is the one exception.
law 'every setting that is defined is read', find => sub {
	my ($tree) = @_;
	my $source = join "\n", map { $tree->{$_} } grep { $_ =~ $c } keys %$tree;
	my $sql = join "\n", map { $tree->{$_} } grep { $_ =~ sql_parts() } keys %$tree;
	my @found;
	foreach my $file (sort grep { $_ =~ $c } keys %$tree)
	{
		foreach my $call (calls($tree->{$file}, 'DefineCustom\w+Variable'))
		{
			my ($line, $arguments) = @$call;
			my ($setting, $variable) = $arguments =~ /"(cozi\.\w+)".*?&(\w+)/s or next;
			next if $setting eq 'cozi.api_roles';
			next if $arguments !~ /NULL,\s*NULL,\s*NULL\s*\)\z/;       # its hooks take the value
			next if $sql       =~ /current_setting\('\Q$setting\E'/;
			my $read = grep {
				/\b$variable\b/
				  && !
				  /&$variable\b|^\s*(?:static|extern)?\s*(?:const\s+)?(?!return\b)\w+\s+\*?$variable\s*(?:=[^=].*)?;/
			  }
			  split /\n/, $source;
			push @found, "$file:$line: nothing reads $setting" unless $read;
		}
	}
	return @found;
  },
  planted => { 'src/edge/a.c' =>
	  qq{static int limit;\nvoid f(void)\n{\n\tDefineCustomIntVariable("cozi.limit", "A.", NULL, &limit, 1, NULL, NULL, NULL);\n}\n}
  },
  lawful => { 'src/edge/a.c' =>
	  qq{static int limit = 1;\nint f(void)\n{\n\tDefineCustomIntVariable("cozi.limit", "A.", NULL, &limit, 1, NULL, NULL, NULL);\n\treturn limit;\n}\n}
  };

# test/run asks such a room once.
law 'a room that test/run calls alike has no shared memory and no worker', find => sub {
	my ($tree) = @_;
	my ($alike) = $tree->{'test/run'} =~ /^alike='([\w ]+)'$/m or return 'test/run: no room is alike';
	my $rooms = join '|', split ' ', $alike;
	return lines_matching($tree, qr{^src/(?:$rooms)/},
		qr/\b(?:cozi_shmem_\w+|Register\w*BackgroundWorker|process_shared_preload\w+)\b/);
  },
  beside => { 'test/run' => "alike='edge feeds'\n" },
  planted => {
	'src/edge/a.c' => 'cozi_shmem_request(&area);',
	'src/feeds/a.c' => 'RegisterDynamicBackgroundWorker(&worker, &handle);'
  },
  lawful => { 'src/kept/a.c' => 'RegisterDynamicBackgroundWorker(&worker, &handle);' };

law 'every function of the library that a text names exists: cozi_name()', find => sub {
	my ($tree) = @_;
	my $source = join "\n", map { $tree->{$_} } grep { $_ =~ $c } keys %$tree;
	my %defined = map { ($_ => 1) } $source =~ /^(?:#define |extern .*?\b)?(cozi_\w+)\(/mg;
	return grep {
		my ($line) = m{^[^:]+:\d+: (.*)}s;
		grep { !$defined{$_} && !/ROOM/ } $line =~ /\b(cozi_\w+)\(\)/g
	} lines_matching($tree, qr/^(src|doc|test)\/(?!t\/Laws)|\.md$/, qr/\bcozi_\w+\(\)/);
  },
  planted => { 'src/pure/a.h' => '/* before cozi_claims_read() stands */' },
  lawful => { 'src/pure/a.h' =>
	  "/* before cozi_claims_check() stands */\nextern int cozi_claims_check(int a);\n" };

# The reports of errors: file, line, arguments.
sub reports
{
	my ($tree) = @_;
	my @found;
	foreach my $file (sort grep { $_ =~ $c } keys %$tree)
	{
		push @found, map { [ "$file:$_->[0]", $_->[1] ] } calls($tree->{$file}, 'ereport');
	}
	return @found;
}

law 'every error has a SQLSTATE', find => sub {
	return map { "$_->[0]: no SQLSTATE" }
	  grep     { $_->[1] =~ /\A\((?:ERROR|FATAL|PANIC|elevel)\b/ && $_->[1] !~ /errcode|sqlstate/ }
	  reports($_[0]);
  },
  planted => { 'src/edge/a.c' => 'ereport(ERROR, (errmsg("no (%s)", x)));' },
  lawful => {
	'src/edge/a.c' => 'ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("no")));',
	'src/edge/b.c' => 'ereport(LOG, (errmsg("yes")));'
  };

law 'a message begins with a lower-case letter and has no full stop', find => sub {
	my @found;
	foreach my $report (reports($_[0]))
	{
		while ($report->[1] =~ /errmsg(?:_internal|_plural)?\s*\(\s*"((?:[^"\\]|\\.)*)"/g)
		{
			my $message = $1;
			push @found, "$report->[0]: $message"
			  if $message =~ /^[A-Z][a-z]/ || $message =~ /[.!]$/;
		}
	}
	return @found;
  },
  planted => {
	'src/edge/a.c' => 'ereport(ERROR, (errmsg("Not here")));',
	'src/edge/b.c' => 'ereport(ERROR, (errmsg("not here.")));'
  },
  lawful =>
  { 'src/edge/a.c' => 'ereport(ERROR, (errmsg("JWT is not here"), errhint("Look there.")));' };

1;
