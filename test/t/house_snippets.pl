# Every snippet of README.md and of doc/*.md, in the order of its page.
#
# A page is one session of psql, in a new database, on a preloaded server.  The
# script that psql reads has the lines of the page: a fence becomes a marker,
# prose a blank line, so that psql itself names the line of an error.
#
#   sql             runs in the session of the page
#   sh              runs by sh -e, with psql and the server in its environment
#   js, python      run by node and python3; blocks that follow one another
#                   with no prose between them are one program
#   conf            is read by the server, which must know and accept it
#   text            directly after sql: what psql prints there last; ... is any text
#   any other       is not run, and needs a reason in %not_run below
#
#   -- ERROR:  ...  the statement before it fails, and this is how; -- HINT: and
#                   -- DETAIL: may follow it.  In every text, ... is any text
#   <!-- sql        a block that runs and that a reader does not see, to "-->"
#   <!-- $1: VALUE  what the parameter $1 of an application is from here on
#   <!-- database NAME -->   the name of the page's database; else "app"
#   <!-- needs NAME -->      an extension; on a server without it the page is skipped
#
# A page that creates the extension begins without it; the others begin with it.
# The law: an error that the page does not show fails, and so does one that it
# shows and that does not come.
#
# needs: node-pg, which test/run installs for the JavaScript of the pages
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(make_path);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StandIn;
use Test::More;

# Languages that no test runs here, and where they are run or why they are not.
my %not_run = (
	'' => 'a drawing, or what a command printed',
	console => 'what a reader types on a machine of their own: sh -n reads it',
	dockerfile => 'it needs docker and a network: the workflow builds the image',
	java => 'test/t/identity_jdbc.pl runs it where there is a JDBC driver',
	toml => 'PgDog is not here; test/t/nodes_replica.pl runs the query in it',
	yaml => 'it configures a program that is not here');

my @pages = @ARGV ? @ARGV : ('README.md', sort glob 'doc/*.md');
my %interpreter = (js => 'node', python => 'python3');
my %have = map { $_ => !system("command -v $_ >/dev/null 2>&1") } values %interpreter;

# The blocks of a page: language, first and last line, text, whether it is shown.
sub blocks
{
	my ($page) = @_;
	my (@blocks, $open);
	my $n = 0;

	foreach my $line (split /\n/, $page)
	{
		$n++;
		if ($open)
		{
			if ($line =~ $open->{end})
			{
				$open->{last} = $n;
				push @blocks, $open;
				undef $open;
			}
			else { $open->{text} .= "$line\n" }
		}
		elsif ($line =~ /^( *)```(\w*)/)
		{
			$open = { language => $2, first => $n, text => '', end => qr/^ *```\s*$/, shown => 1 };
		}
		elsif ($line =~ /^<!-- (sql|sh|js|python)$/)
		{
			$open = { language => $1, first => $n, text => '', end => qr/^-->$/, shown => 0 };
		}
		elsif ($line =~ /^<!-- \$\d+: (?:.*) -->$/)
		{
			push @blocks, { language => 'parameters', first => $n, last => $n, text => $line };
		}
	}
	die "a block that begins in line $open->{first} does not end\n" if $open;
	return @blocks;
}

# Whether nothing but blank lines and comments stands between two lines.
sub adjoin
{
	my ($lines, $from, $to) = @_;
	return !grep { /\S/ && !/^<!--.*-->$/ } @$lines[ $from .. $to - 2 ];
}

# $1 of an application is :'1' of psql, but for bodies of functions and PREPARE.
sub parameters_to_variables
{
	my ($sql, $known) = @_;
	my @parts = split /(\$\w*\$.*?\$\w*\$|\bPREPARE\b[^;]*;|--[^\n]*)/s, $sql;

	foreach my $part (@parts)
	{
		next if $part =~ /^(?:\$\D|\$\$|PREPARE|--)/;
		$part =~ s/\$(\d+)/$known->{$1} ? ":'$1'" : die "nothing says what \$$1 is\n"/ge;
	}
	return join '', @parts;
}

# The errors that a block shows: line of the page => its texts.
sub shown_errors
{
	my ($block) = @_;
	my (%shown, $last);
	my ($n, $statement) = ($block->{first}, $block->{first});

	foreach my $line (split /\n/, $block->{text})
	{
		$n++;
		if ($line =~ /^(.*?)-- (ERROR|FATAL):\s+(.*)$/)
		{
			my ($before, $text) = ($1, $3);
			$statement = $n if $before =~ /\S/;
			$last = $shown{$statement} = [ $text ];
		}
		elsif ($last && $line =~ /^\s*-- ((?:HINT|DETAIL|CONTEXT): .*)$/) { push @$last, $1 }
		elsif ($last && $line =~ /^\s*--   +(.*)$/) { $last->[-1] .= "\n$1" }
		elsif ($line =~ /\S/)
		{
			$statement = $n if $line !~ /^\s*--/;
			undef $last;
		}
	}
	return %shown;
}

# A text of a page as a pattern: ... is any text, white space any white space.
sub pattern
{
	my ($text) = @_;
	$text =~ s/^\s+|\s+$//g;
	return join '.*?', map {
		join '\s+', map { quotemeta } split /\s+/, $_, -1
	} split /\.\.\./, $text, -1;
}

my $node = PostgreSQL::Test::Cluster->new('snippets');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_stat_statements,cozi'");
$node->append_conf('postgresql.conf', "include_if_exists = 'page.conf'");
$node->start;
my $roles = 'SELECT rolname FROM pg_roles';
my %initial_role = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', $roles);
my $dir = $node->basedir;

# Modules of node are looked for beside the program.  A module of its own hands on pg:
# an import looks for it neither where NODE_PATH says nor where Debian has it.
my $pg = qx(node -p 'JSON.stringify(require.resolve("pg"))' 2>/dev/null);
my %module = (%StandIn::module, $pg ? (pg => "module.exports = require($pg);") : ());
foreach my $module (keys %module)
{
	make_path("$dir/node_modules/$module");
	append_to_file("$dir/node_modules/$module/index.js", $module{$module});
}
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

# The database that most pages begin with; to create the extensions takes longer
# than to copy it.
$node->safe_psql('postgres', 'CREATE DATABASE extended IS_TEMPLATE true');
$node->safe_psql('extended', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');

# One server serves all pages: nothing of a page may outlive it.
sub clean
{
	my ($database, $template) = @_;
	my $first = join ', ', map { "'$_'" } sort keys %initial_role;

	unlink $node->data_dir . '/page.conf';
	$node->safe_psql('template1', <<"SQL");
ALTER SYSTEM RESET ALL;
SELECT pg_reload_conf() \\g /dev/null
SELECT format('DROP DATABASE %I WITH (FORCE)', datname)
FROM pg_database WHERE NOT datistemplate \\gexec
SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname NOT IN ($first) \\gexec
CREATE DATABASE "$database" TEMPLATE $template STRATEGY file_copy;
SQL
	return;
}

# The programs of a page are files, which psql calls by \! and whose ends are
# written beside them.
sub program
{
	my ($name, $block, $lines) = @_;
	my $base = "$dir/$name.$block->{first}";
	my $language = $block->{language};
	my ($suffix, $command) = ('sh', 'sh -eu');

	($suffix, $command) = ('py', 'python3') if $language eq 'python';
	($suffix, $command) = ($block->{text} =~ /^import /m ? 'mjs' : 'cjs', 'node')
	  if $language eq 'js';
	$block->{output} = "$base.out";
	$block->{status} = "$base.status";
	append_to_file("$base.$suffix", "\n" x $block->{first} . $block->{text});
	return "\\! $command '$base.$suffix' >'$base.out' 2>&1 </dev/null; echo \$? >'$base.status'";
}

# The lines of psql's script, in the page's place.
sub script
{
	my ($name, $lines, $database, @blocks) = @_;
	my @script = ('') x (@$lines + 1);
	my (%known, $previous);

	foreach my $block (@blocks)
	{
		my ($first, $last, $language) = @$block{ 'first', 'last', 'language' };
		if ($language eq 'parameters')
		{
			my @set;
			while ($block->{text} =~ /\$(\d+): (\S+?)(?=,| -->)/g)
			{
				push @set, "\\set $1 $2";
				$known{$1} = 1;
			}
			$script[$first] = join ' ', @set;
		}
		elsif ($language eq 'sql')
		{
			$script[$first] = "\\echo \@\@$first";
			my $n = $first;
			$script[ ++$n ] = $_
			  foreach split /\n/, parameters_to_variables($block->{text}, \%known);
			$script[$last] = '\echo @@';
		}
		elsif ($language eq 'conf')
		{
			my $conf = $node->data_dir . '/page.conf';
			my $file = "$dir/$name.$first.conf";
			append_to_file($file, $block->{text});
			$block->{check} = $file;
			$script[$first] = "\\! cat '$file' >>'$conf'";
			$script[$last] = 'SELECT pg_reload_conf() \\g /dev/null';
		}
		elsif ($language eq 'sh') { $script[$first] = program($name, $block, $lines) }
		elsif ($interpreter{$language} && $have{ $interpreter{$language} })
		{
			# pieces without prose between them are one program, run where the last ends
			if ($previous && $previous->{language} eq $language
				&& adjoin($lines, $previous->{last}, $first))
			{
				$script[ $previous->{first} ] = '';
				$block->{text} = $previous->{text} . $block->{text};
				delete $previous->{status};
			}
			$script[$first] = program($name, $block, $lines);
		}
		$previous = $block;
	}
	shift @script;
	return join("\n", @script) . "\n";
}

# What psql wrote to its standard error, as line => texts.
sub errors_of
{
	my ($file, $err) = @_;
	my (%seen, $last);

	foreach my $line (split /\n/, $err)
	{
		if ($line =~ /^psql:\Q$file\E:(\d+): (\w+):\s+(.*)$/)
		{
			undef $last;
			next if $2 =~ /^(NOTICE|WARNING|INFO|LOG|DEBUG)/;
			push @{ $seen{$1} }, $last = [ $3 ];
		}
		elsif ($line =~ /^psql:\Q$file\E:(\d+): (.*)$/) { push @{ $seen{$1} }, $last = [ $2 ] }
		elsif ($last) { push @$last, $line }
	}
	return %seen;
}

# What the errors of a page and the page say of each other: nothing, if they agree.
sub disagreements
{
	my ($shown, $seen) = @_;
	my @wrong;

	foreach my $line (sort { $a <=> $b } keys %$seen)
	{
		foreach my $error (@{ $seen->{$line} })
		{
			my $text = join "\n", @$error;
			my @expected = @{ $shown->{$line} || [] };
			my @missing = grep { my $p = pattern($_); $text !~ /$p/s } @expected;
			if (!@expected) { push @wrong, "line $line: $text" }
			elsif (@missing) { push @wrong, "line $line shows \"$missing[0]\" and is: $text" }
		}
	}
	push @wrong, map { "line $_ shows an error that does not come: $shown->{$_}[0]" }
	  grep { !$seen->{$_} } sort { $a <=> $b } keys %$shown;
	return @wrong;
}

# The sql blocks whose answer the page prints, and whether that is the answer.
sub wrong_answers
{
	my ($lines, $out, @blocks) = @_;
	my (%answer, @wrong);

	$answer{$1} = $2 while $out =~ /^\@\@(\d+)\n(.*?)^\@\@$/msg;
	foreach my $i (1 .. $#blocks)
	{
		my ($asked, $printed) = @blocks[ $i - 1, $i ];
		next if $printed->{language} ne 'text' || $asked->{language} ne 'sql';
		next if !adjoin($lines, $asked->{last}, $printed->{first});
		my $p = pattern($printed->{text});
		my $is = $answer{ $asked->{first} } // '';
		push @wrong, "line $printed->{first}: the answer is\n$is" if $is !~ /(?:^|\n)\s*$p\s*$/s;
	}
	return @wrong;
}

# Programs that ended badly, with what they wrote.
sub failed_programs
{
	my @failed;
	foreach my $block (grep { $_->{status} } @_)
	{
		my $status = -e $block->{status} ? slurp_file($block->{status}) : 'no';
		push @failed, "line $block->{first}: $block->{language} ended with status $status"
		  . (-e $block->{output} ? slurp_file($block->{output}) : '')
		  if $status !~ /^0$/m;
	}
	return @failed;
}

# Settings that the server does not know or does not take.
sub refused_settings
{
	return if !grep { $_->{check} } @_;
	return split /\n/, $node->safe_psql('template1', q{
		SELECT format('%s: %s', coalesce(f.name, 'page.conf'), coalesce(f.error, 'is no setting'))
		FROM pg_file_settings f LEFT JOIN pg_settings s ON s.name = lower(f.name)
		WHERE f.sourcefile ~ 'page.conf$'
		  -- what needs a restart has the same error as what is not valid
		  AND (f.error IS NOT NULL AND f.error <> 'setting could not be applied'
		       OR f.error IS NOT NULL AND s.context <> 'postmaster'
		       OR current_setting(f.name, true) IS NULL)});
}

# A block must end with its last statement: the next would go on with it.
sub unfinished
{
	my @open;
	foreach my $block (grep { $_->{language} eq 'sql' } @_)
	{
		(my $text = $block->{text}) =~ s/--[^\n]*//g;
		push @open, "line $block->{last}: the last statement of the block does not end"
		  if $text =~ /\S/ && $text !~ /(?:;|\\\w+[^\n]*)\s*\z/;
	}
	return @open;
}

sub try_page
{
	my ($page) = @_;
	my $text = slurp_file($page);
	my @lines = split /\n/, $text;
	my @blocks = blocks($text);
	my ($database) = $text =~ /^<!-- database (\w+) -->$/m;
	$database //= 'app';
	(my $name = $page) =~ s/\W/_/g;
	my $file = "$dir/$name.sql";

	clean($database, $text =~ /^\s*CREATE EXTENSION cozi;/m ? 'template1' : 'extended');
	append_to_file($file, script($name, \@lines, $database, @blocks));

	local %ENV = (
		%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $database,
		PGUSER => $superuser, PAGER => '');
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-q', '-P', 'pager=off', '-f', $file ],
		'<', \undef, '>', \$out, '2>', \$err,
		IPC::Run::timeout(2 * $PostgreSQL::Test::Utils::timeout_default));

	my %shown = map { shown_errors($_) } grep { $_->{language} eq 'sql' } @blocks;
	my %seen = errors_of($file, $err);
	return (
		unfinished(@blocks), disagreements(\%shown, \%seen), wrong_answers(\@lines, $out, @blocks),
		failed_programs(@blocks), refused_settings(@blocks));
}

# The extensions that a page needs and that this server has not.
sub lacking
{
	my ($page) = @_;
	return grep {
		$node->safe_psql('template1',
			"SELECT count(*) FROM pg_available_extensions WHERE name = '$_'") eq '0'
	} slurp_file($page) =~ /^<!-- needs (\w+) -->$/mg;
}

foreach my $page (@pages)
{
	SKIP:
	{
		my ($extension) = lacking($page);
		skip "no $extension in this server", 1 if $extension;
		my @wrong = eval { try_page($page) };
		push @wrong, $@ if $@;
		is(join("\n", @wrong), '', "every snippet of $page runs, or fails as the page shows");
	}

	my @unknown = grep {
		my $language = $_->{language};
		!exists $not_run{$language} && !$interpreter{$language}
		  && $language !~ /^(?:sql|sh|conf|text|parameters)$/
	} blocks(slurp_file($page));
	is(join("\n", map { "line $_->{first}: $_->{language}" } @unknown),
		'', "every language of $page is run, or it is known why not");
}

# The commands of a machine of the reader's own are at least commands.
foreach my $page (@pages)
{
	my $commands = join '', map { $_->{text} }
	  grep { $_->{language} eq 'console' } blocks(slurp_file($page));
	next if $commands !~ /\S/;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'sh', '-n' ], '<', \$commands, '>', \$out, '2>', \$err);
	is($err, '', "the shell reads the commands of $page");
}

my $listed = slurp_file('doc/settings.md');
my @settings = split /\n/, $node->safe_psql('template1',
	q{SELECT name FROM pg_settings WHERE name LIKE 'cozi.%' ORDER BY 1});
cmp_ok(scalar @settings, '>', 10, 'the server shows the settings of cozi');
is(join(' ', grep { $listed !~ /^\| `\Q$_\E` \|/m } @settings),
	'', 'doc/settings.md lists every setting');

SKIP:
{
	my @missing = grep { !$have{$_} } sort keys %have;
	skip "no @missing", 1 if @missing;
	pass('node and python3 run the programs of the pages');
}

# The test, put to the test.

my $planted = "$dir/planted.md";
append_to_file($planted, <<'END');
```sql
SELECT 1 AS one;
SELECT 1 / 0;
-- ERROR:  division by zero
SELECT nothing;
SELECT 2;                       -- ERROR:  it does not come
SELECT $1::int + 1 AS sum
```
```text
 sum
-----
   7
(1 row)
```
```sh
false
```
```conf
cozi.no_such_setting_of_cozi = on
work_mem = 'none'
```
END
my $found = eval { join "\n", try_page($planted) } // $@;
like($found, qr/nothing says what \$1 is/, 'a parameter without a value is found');

(my $mended = slurp_file($planted)) =~ s/\$1::int \+ 1 AS sum/\$1::int + 1 AS sum;/;
my $second = "$dir/second.md";
append_to_file($second, "<!-- \$1: 41 -->\n$mended");
$found = join "\n", try_page($second);
like($found, qr/^line 6: column "nothing" does not exist/m,
	'an error that the page does not show is found');
like($found, qr/^line 7 shows an error that does not come/m,
	'an error that does not come is found');
like($found, qr/^line 10: the answer is.*42/ms, 'a wrong answer is found');
like($found, qr/^line 16: sh ended with status 1/m, 'a program that fails is found');
like($found, qr/^work_mem: /m, 'a value that a setting refuses is found');
like($found, qr/^cozi.no_such_setting_of_cozi: /m, 'a setting that does not exist is found');
unlike($found, qr/division/, 'an error that the page shows is none');

my $third = "$dir/third.md";
append_to_file($third, "```sql\nSELECT 1\n```\n```sql\nSELECT 2;\n```\n");
like(join("\n", try_page($third)), qr/does not end/, 'a statement without an end is found');

$node->stop;
done_testing();
