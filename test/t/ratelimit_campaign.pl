# Attacks on named limits and on the memory of denied keys: floods of five kinds,
# storms of savepoints, a migration tool, a database made anew, a role that
# monitors.  The law: a denied key stays denied, and memory adds up.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

my $node = Warm->new('campaign');
$node->init;
$node->append_conf('postgresql.conf',
	"fsync = off\nshared_preload_libraries = 'cozi'\ncozi.rate_limit_memory = '1MB'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cozi');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The error that a script ends in.
sub error_of
{
	my ($script, $role) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $script,
		extra_params => $role ? [ '-U', $role ] : []);
	return $err;
}

# Memory that is reserved, and that the definitions ask for: "equal".
sub memory
{
	my ($reserved, $asked) = split /\|/, sql('SELECT
		(SELECT bytes_reserved FROM cozi.rate_limit_stats WHERE name IS NULL),
		(SELECT coalesce(sum(bytes_reserved), 0) FROM cozi.rate_limit_stats s
			JOIN cozi.rate_limit_config c USING (name))');
	return $reserved == $asked ? 'equal' : "$reserved reserved, $asked asked for";
}

# Floods of a table of 1 MB.  The keys of gcra without a name are in sets of seven
# slots; so few are denied that no three of them meet in one.
sql("SELECT cozi.create_rate_limit('exact', 5, '1 h', memory => '64kB'),
	cozi.create_rate_limit('gcra', 5, '1 h', 'gcra', '64kB')");
my %kinds = (
	'shared, exact' => "cozi.rate_limit(%s, 5, '1 h')",
	'shared, gcra' => "cozi.rate_limit(%s, 5, '1 h', 1, 'gcra')",
	'named, exact' => "cozi.use_rate_limit('exact', %s)",
	'named, gcra' => "cozi.use_rate_limit('gcra', %s)");
my $half = sql('SELECT log_max_calls / 2 FROM cozi.rate_limit_stats WHERE name IS NULL');
my %floods = (
	'new keys of its own limit' => [ map { sprintf $_, "'new ' || i" } values %kinds ],
	'new keys of one call in a day' =>
	  [ map { "cozi.rate_limit('day ' || i, 1, '24 h', 1, '$_')" } qw(exact gcra) ],
	'busy keys of a large limit' =>
	  [ map { "cozi.rate_limit('user ' || i % 2000, 100, '60 s', 1, '$_')" } qw(exact gcra) ],
	'three logs of half the memory' => [
		"cozi.rate_limit('load ' || i, 9, '1 h')",
		"cozi.rate_limit('long ' || i % 3, $half, '24 h')"
	],
	'keys of 1,500 limits' =>
	  [ map { "cozi.rate_limit('many ' || i, 2 + i % 1500, '1 h', 1, '$_')" } qw(exact gcra) ]);

sub admitted
{
	my ($call, $n) = @_;
	return sql("SELECT count(*) FROM generate_series(0, $n - 1) i WHERE $call");
}
for my $flood (sort keys %floods)
{
	$node->restart;
	for my $kind (sort keys %kinds)
	{
		is(admitted(sprintf($kinds{$kind}, "'$flood ' || i % 20"), 120),
			100, "before a flood of $flood a limit ($kind) admits 5 calls of each key");
	}
	my $before = sql('SELECT evictions FROM cozi.rate_limit_stats WHERE name IS NULL');
	admitted($_, 100_000) for @{ $floods{$flood} };
	cmp_ok(sql('SELECT evictions FROM cozi.rate_limit_stats WHERE name IS NULL'),
		'>', $before, "a flood of $flood makes the limiter forget keys");
	for my $kind (sort keys %kinds)
	{
		is(admitted(sprintf($kinds{$kind}, "'$flood ' || i"), 20),
			0, "a flood of $flood lets in no denied key ($kind)");
	}
}

# Limits without a name beyond 64: each shares a class with some other, and not all
# of them one.  So calls of a large limit do not make those of a small one forgotten.
$node->restart;
admitted("cozi.rate_limit('many ' || i, 2 + i % 1500, '1 h')", 100_000);
admitted("cozi.rate_limit('new ' || i, 5, '1 h')", 100_000);
admitted("cozi.rate_limit('day ' || i, 1, '24 h')", 100_000);
is(admitted("cozi.rate_limit('late ' || i % 20, 5, '1 h')", 120),
	100, 'after calls on 1,500 limits a key of a small one has its five calls, and no more');

# Savepoints: random commands in random nests, some of which are rolled back.
sql(<<'SQL');
CREATE PROCEDURE storm(commands int, fate text) LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOR i IN 1 .. commands LOOP
        name := 'storm' || floor(random() * 4);
        BEGIN
            CASE floor(random() * 5)
                WHEN 0 THEN PERFORM cozi.create_rate_limit(name, 5, '1 h', memory => '16kB');
                WHEN 1 THEN PERFORM cozi.create_rate_limit(name, 5, '1 h', 'gcra', '32kB');
                WHEN 2 THEN PERFORM cozi.alter_rate_limit(name, memory => '48kB');
                WHEN 3 THEN PERFORM cozi.drop_rate_limit(name);
                ELSE PERFORM cozi.use_rate_limit(name, 'k' || i);
            END CASE;
            IF random() < 0.3 THEN
                CALL storm(3, 'undo');
            END IF;
            IF random() < 0.4 THEN
                RAISE SQLSTATE 'ZZ000';
            END IF;
        EXCEPTION WHEN SQLSTATE 'ZZ000' OR undefined_object OR duplicate_object
            OR out_of_memory THEN NULL;
        END;
    END LOOP;
    IF fate = 'undo' AND random() < 0.5 THEN
        RAISE SQLSTATE 'ZZ000';
    END IF;
END $$;
SQL
my $undone = sql('SELECT string_agg(c::text, $$,$$ ORDER BY name) FROM cozi.rate_limit_config c');
for my $seed (1 .. 9)
{
	sql("SELECT setseed(0.$seed); BEGIN; CALL storm(60, ''); ROLLBACK");
	is(memory(), 'equal', "after a storm ($seed) that is rolled back the memory adds up");
	is(sql('SELECT string_agg(c::text, $$,$$ ORDER BY name) FROM cozi.rate_limit_config c'),
		$undone, "after a storm ($seed) that is rolled back the limits are as before");
	sql("SELECT setseed(0.$seed); BEGIN; CALL storm(60, ''); COMMIT");
	is(memory(), 'equal', "after a storm ($seed) that is committed the memory adds up");
	$undone = sql('SELECT string_agg(c::text, $$,$$ ORDER BY name) FROM cozi.rate_limit_config c');
}
is(sql("SELECT count(cozi.drop_rate_limit(name)) > 0 FROM cozi.rate_limit_config"),
	't', 'after the storms there are limits to drop');
is(sql('SELECT bytes_reserved FROM cozi.rate_limit_stats WHERE name IS NULL'),
	0, 'when all limits are dropped no memory is reserved');

# A migration tool renames, deletes and truncates rows.
sql("SELECT cozi.create_rate_limit('login', 2, '1 h', memory => '32kB')");
is(admitted("cozi.use_rate_limit('login', 'bob' || substr('', i))", 3),
	2, 'a limit admits two calls');
sql("UPDATE cozi.rate_limit_config SET name = 'signin'");
like(error_of("SELECT cozi.use_rate_limit('login', 'bob')"),
	qr/rate limit "login" does not exist/, 'a limit that was renamed is gone under the old name');
is(admitted("cozi.use_rate_limit('signin', 'bob' || substr('', i))", 3),
	2, 'a limit that was renamed counts under the new name');
like(error_of("SELECT cozi.create_rate_limit('all', 1, '1 h', memory => '400kB')"),
	qr/needs \d+ kB, and \d+ kB are left/, 'memory that a limit has is not given twice');
sql("SELECT cozi.create_rate_limit('rest', 1, '1 h', memory => '290kB')");
is(memory(), 'equal', 'the memory of the old name is found again when it is needed');
sql('TRUNCATE cozi.rate_limit_config');
like(error_of("SELECT cozi.use_rate_limit('signin', 'bob')"),
	qr/does not exist/, 'after TRUNCATE there is no limit');
sql("SELECT cozi.create_rate_limit('rest', 1, '1 h', memory => '310kB')");
is(memory(), 'equal', 'the memory of limits that were truncated is found again');
like(error_of('DROP TABLE cozi.rate_limit_config'),
	qr/extension cozi requires it/, 'the table of the definitions cannot be dropped');
sql('SELECT cozi.drop_rate_limit($$rest$$)');

# A database is dropped, and one of its name is made.
for my $round ('first', 'second')
{
	$node->safe_psql('postgres', 'CREATE DATABASE app');
	$node->safe_psql('app', 'CREATE EXTENSION cozi');
	$node->safe_psql('app', "SELECT cozi.create_rate_limit('login', 2, '1 h', memory => '300kB')");
	is($node->safe_psql('app', "SELECT count(*) FROM generate_series(1, 3) i
			WHERE cozi.use_rate_limit('login', 'bob' || substr('', i))"),
		2, "in the $round database of one name a limit begins with no calls");
	is($node->safe_psql('app', "SELECT count(*) FROM generate_series(1, 3) i
			WHERE cozi.rate_limit('bob' || substr('', i), 2, '1 h')"),
		2, "in the $round database of one name calls without a name begin anew");
	$node->safe_psql('postgres', 'DROP DATABASE app');
}

# A role that monitors sees how many, and neither keys nor more.
sql("CREATE ROLE watcher LOGIN IN ROLE pg_monitor; GRANT USAGE ON SCHEMA cozi TO watcher;
	SELECT cozi.create_rate_limit('login', 1, '1 h', memory => '32kB');
	SELECT cozi.use_rate_limit('login', 'bob')");
is($node->safe_psql('postgres', "SELECT allowed, denied FROM cozi.rate_limit_stats
		WHERE name = 'login'", extra_params => [ '-U', 'watcher' ]),
	'1|0', 'a role that monitors sees the calls of a limit');
for my $call (
	"use_rate_limit('login', 'bob')", "reset_rate_limit('login', 'bob')",
	"rate_limit_log('bob', '1 h')",   "drop_rate_limit('login')",
	"alter_rate_limit('login', 9)",   "rate_limit_reset('bob')",
	"create_rate_limit('x', 1, '1 h')")
{
	my ($function) = $call =~ /^(\w+)/;
	like(error_of("SELECT cozi.$call", 'watcher'),
		qr/permission denied for function $function/,
		"a role that monitors may not execute $function");
}

# The pre-request function of the page, word for word: a client that writes headers
# of its own has one budget, however long they are, and a refusal is one log line.
my ($recipe) = slurp_file('doc/ratelimit.md') =~ /(CREATE FUNCTION api\.check_request.*?^\$\$;)/ms;
sql("CREATE SCHEMA api; $recipe");
sql("SELECT cozi.create_rate_limit('request', 3, '1 h', memory => '32kB'),
	cozi.create_rate_limit('write', 2, '1 h', memory => '32kB')");

# What requests of a method with these x-forwarded-for are answered.
sub answers
{
	my ($method, @headers) = @_;
	my $requests = join ', ', map { qq('{"x-forwarded-for": "$_"}') } @headers;
	return sql(qq(
		CREATE FUNCTION pg_temp.ask(headers text) RETURNS text LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM set_config('request.headers', headers, true);
			PERFORM api.check_request();
			RETURN 'ok';
		EXCEPTION WHEN OTHERS THEN
			RETURN SQLSTATE;
		END \$\$;
		SET request.method = '$method';
		SELECT string_agg(pg_temp.ask(h), ' ') FROM unnest(ARRAY[$requests]) h));
}
is(answers('GET', map { "192.0.2.$_, 203.0.113.9" } 1 .. 5),
	'ok ok ok PGRST PGRST', 'a client that writes other addresses before its own has one budget');
is(answers('GET', '203.0.113.9', ' 203.0.113.9 '),
	'PGRST PGRST', 'blanks around an address make no other budget');
is(answers('GET', '203.0.113.10'), 'ok', 'another address has another budget');
is(answers('GET', map { 'x' x 5000 . ", 203.0.113.11" } 1 .. 4),
	'ok ok ok PGRST', 'a header of 5,000 bytes is refused as any other, and no error');
is(answers('GET', map { 'y' x 5000 } 1 .. 4),
	'ok ok ok PGRST', 'an address of 5,000 bytes has a budget, and is no error');
is(answers('POST', ('203.0.113.12') x 3),
	'ok ok PGRST', 'a request that writes has the narrower limit, too');
is(answers('GET', ('203.0.113.12') x 2),
	'ok PGRST', 'what the narrow limit has refused is not counted by the broad one');

my $before = -s $node->logfile;
error_of("SELECT cozi.enforce_rate_limit('one line', 1, '1 h') FROM generate_series(1, 2)");
my $log = substr(slurp_file($node->logfile), $before);
my @lines = grep { /rate limit|STATEMENT|CONTEXT|enforce_rate_limit/ } split /\n/, $log;
is(scalar(grep { /STATEMENT|CONTEXT/ } @lines), 0, 'a refusal is logged without its statement');
is(scalar(grep { /ERROR/ } @lines), 1, 'a refusal is one error in the log');
is( sql("SELECT cozi.rate_limit('search', 10, '1 s',
		cost => least(10, 1 + length(repeat('x', 100000)) / 100))"),
	't', 'a cost that is cut with least() is never too large');

$node->stop;
done_testing();
