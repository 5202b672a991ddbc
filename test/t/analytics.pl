# Activities under eight writers of every kind of statement, with conditions, users
# and days that move; under open and prepared transactions; touched by eight clients
# at once; killed and restored; under an owner who puts code on one.  Each time the
# table equals a recount.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{COZI_LONG} ? 10 : 2;
my $reads = $ENV{COZI_LONG} ? 20 : 3;
my $node = House::server('analytics');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\nautovacuum_naptime = 1\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE TABLE events (id int, who int, at timestamptz, ok boolean);
	CREATE INDEX ON events (id);
	CREATE TABLE touches (who int, at timestamptz);
	SELECT cozi.create_activity('days', 'events', 'who', 'at', 'Europe/Paris');
	SELECT cozi.create_activity('some_days', 'events', 'who', 'at', counted => 'ok');
	SELECT cozi.create_activity('touched', 'touches', 'who', 'at', 'Asia/Kathmandu');
});

my $write = "$PostgreSQL::Test::Utils::tmp_check/write.sql";
append_to_file(
	$write, q{
\set who random_zipfian(1, 20, 1.5)
\set id random(1, 500)
\set hour random(0, 2000)
\set what random(1, 10)
\if :what <= 5
INSERT INTO events VALUES (:id, nullif(:who, 20),
    '2026-02-27 22:30+00'::timestamptz + :hour * interval '1 hour', (:id % 5) > 0);
\elif :what <= 6
UPDATE events SET who = nullif(:who, 3), ok = NOT ok WHERE id = :id;
\elif :what <= 7
UPDATE events SET at = at + interval '1 hour', ok = CASE WHEN :id % 3 > 0 THEN true END
WHERE id = :id;
\elif :what <= 8
DELETE FROM events WHERE id = :id;
\elif :what <= 9
BEGIN;
INSERT INTO events SELECT :id, i, '2026-03-31 20:00+00'::timestamptz + i * interval '1 hour', true
FROM generate_series(1, 25) i;
SAVEPOINT s;
DELETE FROM events WHERE id = :id;
ROLLBACK TO s;
UPDATE events SET who = :who WHERE id = :id AND who = 5;
COMMIT;
\else
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO events VALUES (:id, :who, '2026-03-01', true);
ROLLBACK;
\endif
});

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Eight clients: until they are ended or the server is, or for so many transactions.
sub pgbench
{
	my ($script, @until) = @_;
	return (
		'pgbench', '-n', '--max-tries=20', '-c', '8', '-j', '2', @until, '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres');
}

# Eight writers, who are at work when this returns.
my $complaint;

sub writers
{
	$complaint = '';
	my $bench = IPC::Run::start([ pgbench($write, '-T', '600') ],
		'<', \undef, '>', '/dev/null', '2>', \$complaint);
	House::let_write($node, 1e6);
	return $bench;
}

# What differs: by verify_activity(), and by a recount of the folded tables.
my $differ = q{
	SELECT (SELECT count(*) FROM cozi.verify_activity('days')),
	       (SELECT count(*) FROM cozi.verify_activity('some_days')),
	       (SELECT count(*) FROM cozi.activities WHERE state <> 'ok')};

sub recount_of
{
	my ($activity, $zone, $condition) = @_;
	return qq{
	SELECT count(*) FROM
	(SELECT user_id, month + d AS day FROM $activity, generate_series(0, 30) d
	 WHERE days & (1 << d) <> 0) a
	FULL JOIN (SELECT DISTINCT who, (at AT TIME ZONE '$zone')::date AS day FROM events
	           WHERE who IS NOT NULL AND $condition) t ON (t.who, t.day) = (a.user_id, a.day)
	WHERE a.user_id IS NULL OR t.who IS NULL};
}
my $recount = 'SELECT (' . recount_of('days', 'Europe/Paris', 'true') . '), ('
  . recount_of('some_days', 'UTC', 'ok') . ')';

# Open and prepared transactions hold nobody up, and count once they are committed.
sql(q{INSERT INTO events VALUES (1, 1, '2026-03-01', true)});
my $open = House::session($node, 'postgres');
$open->query_safe(q{BEGIN; INSERT INTO events VALUES (7, 1, '2026-03-02', true)});
sql(q{SET lock_timeout = '10s'; INSERT INTO events VALUES (8, 1, '2026-03-03', true);
	SELECT cozi.fold()});
is(sql($differ), '0|0|0', 'a fold beside an open transaction leaves every day right');
is(sql(q{SELECT days FROM some_days_live WHERE user_id = 1}),
	5, 'the event of an open transaction gives its user no day');
$open->query_safe('COMMIT');
$open->quit;
sql(q{BEGIN; INSERT INTO events VALUES (9, 1, '2026-03-04', true); PREPARE TRANSACTION 'event'});
is(sql($differ), '0|0|0', 'days are right beside a prepared transaction');
sql(q{COMMIT PREPARED 'event'});
sql(q{SELECT cozi.fold()});
is(sql($recount), '0|0', 'a prepared event gives its day once it is committed');

# Clients who touch at once write a row or a few, and one day.
my $touch = "$PostgreSQL::Test::Utils::tmp_check/touch.sql";
append_to_file(
	$touch, q{
\set who random(1, 5)
SELECT cozi.touch_activity('touched', :who, '2026-03-31 18:14:59.9+00');
SELECT cozi.touch_activity('touched', :who, '2026-03-31 18:15+00');
});
$node->command_ok([ pgbench($touch, '-t', 50) ], 'eight clients touch five users at once');
sql('SELECT cozi.fold()');
is( sql(q{SELECT user_id, string_agg(month || ' ' || days, ', ' ORDER BY month) FROM touched
	      GROUP BY 1 ORDER BY 1}),
	join("\n", map { "$_|2026-03-01 1073741824, 2026-04-01 1" } 1 .. 5),
	'concurrent touches give each user the last day of March and the first of April');
my $touches = sql('SELECT count(*) FROM touches');
sql(q{SELECT cozi.touch_activity('touched', g, '2026-03-31 18:15+00')
	FROM generate_series(1, 5) g});
is(sql('SELECT count(*) FROM touches'), $touches, 'a touch of a day that is folded writes no row');
is(sql(q{SELECT count(*) FROM cozi.verify_activity('touched')}),
	0, 'an activity that was touched equals a recount');

# Eight writers, a rebuild and folds beside them; then the server is killed.
for my $round (1 .. $rounds)
{
	$node->append_conf('postgresql.conf',
		$round % 2 ? "shared_preload_libraries = ''" : "shared_preload_libraries = 'cozi'");
	$node->restart;
	my $kind = $round % 2 ? 'with no worker' : 'with a worker';
	my $bench = writers();
	for (1 .. $reads)
	{
		sql(q{SELECT cozi.rebuild_activity('days'); SELECT cozi.fold()});
		is(sql($differ), '0|0|0', "activities equal a recount under eight writers $kind, read $_");
	}
	$bench->signal('TERM');
	$bench->finish;
	House::let_end($node);
	unlike($complaint, qr/error|aborted/, "no write of eight clients fails $kind");
	sql(q{SELECT cozi.fold()});
	is(sql($recount), '0|0', "the tables equal a recount after eight writers $kind");

	$bench = writers();
	$node->stop('immediate');
	$bench->finish;
	$node->start;
	is(sql($differ), '0|0|0', "activities equal a recount after a crash $kind");
	sql(q{SELECT cozi.fold()});
	is(sql($recount), '0|0', "the tables equal a recount after a crash $kind");
}

# Restored, they go on.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/analytics.dump";
sql(q{INSERT INTO events SELECT g, g % 9, '2026-01-01'::timestamptz + g * interval '1 hour', true
	FROM generate_series(1, 3000) g});
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ],
	'a database with activities is dumped');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), $dump ],
	'a database with activities is restored without an error');
is($node->safe_psql('restored', $differ), '0|0|0', 'restored activities equal a recount');
$node->safe_psql('restored',
	q{DELETE FROM events WHERE id % 3 = 0; INSERT INTO events VALUES (1, 1, '2026-05-05', true);
	SELECT cozi.fold()});
is($node->safe_psql('restored', $recount), '0|0', 'restored activities go on counting');

# Their figures are those that fold() counts where they are restored, and a user who is
# spelled in two ways is one user.
is( $node->safe_psql('restored', q{
	SELECT count(*), count(*) FILTER (WHERE reason IS NULL AND until >= current_date - 2)
	FROM cozi.activity_health}),
	'3|3', 'the finished days of restored activities are counted');
SKIP:
{
	skip 'no ICU', 1
	  unless sql(q{SELECT count(*) > 0 FROM pg_collation WHERE collname = 'und-x-icu'}) eq 't';
	is( $node->safe_psql('restored', q{
		CREATE SCHEMA spelled;
		CREATE COLLATION spelled.any_case (PROVIDER = icu, LOCALE = 'und-u-ks-level2',
			DETERMINISTIC = false);
		CREATE TABLE spelled.events (who text COLLATE spelled.any_case, at timestamptz);
		INSERT INTO spelled.events
		SELECT (ARRAY['Ann', 'ANN', 'Bob'])[g], now() - g * interval '20 days'
		FROM generate_series(1, 3) g;
		SELECT cozi.create_activity('days', 'spelled.events', 'who', 'at');
		SELECT monthly[91], monthly[63], (SELECT sum(n) FROM unnest(size) n)
		FROM cozi.activity_health WHERE activity = 'spelled.days'::regclass;
		DROP SCHEMA spelled CASCADE}) =~ s/.*\n(?=\d)//sr,
		'1|1|2', 'a user who is spelled in two ways is one user of the figures');
}

# Code that the owner puts on an activity runs in folds, as the owner, never in a write.
$node->safe_psql(
	'restored', q{
	CREATE ROLE owner; CREATE ROLE client; CREATE SCHEMA app AUTHORIZATION owner;
	SELECT cozi.grant_owner('owner');
	SET ROLE owner;
	CREATE TABLE app.events (who int, created_at timestamptz);
	CREATE TABLE app.ran (as_whom text);
	SELECT cozi.create_activity('active', 'app.events', 'who');
	CREATE FUNCTION app.remember() RETURNS void VOLATILE LANGUAGE sql AS
	'INSERT INTO app.ran VALUES (current_user)';
	CREATE FUNCTION app.note(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
	$$BEGIN PERFORM app.remember(); RETURN $1; END$$;
	CREATE INDEX ON app.active (app.note(user_id));
	GRANT USAGE ON SCHEMA app TO client; GRANT INSERT ON app.events TO client;
	TRUNCATE app.ran;});
$node->safe_psql('restored', q{SET ROLE client; INSERT INTO app.events VALUES (1, '2026-03-05')});
$node->safe_psql('restored', 'SELECT cozi.fold()');
is( $node->safe_psql('restored', q{SELECT count(*) FROM app.ran WHERE as_whom <> 'owner'}),
	0, 'code that the owner puts on an activity runs as nobody but the owner');
is($node->safe_psql('restored', q{SELECT days FROM app.active_live}),
	16, 'an activity with an index of its owner counts');
is($node->safe_psql('restored', q{SELECT count(*) FROM cozi.verify_activity('app.active')}),
	0, 'an activity with an index of its owner equals a recount');
$node->safe_psql('restored', q{SET ROLE owner; SELECT cozi.drop_activity('app.active')});
is( $node->safe_psql('restored', q{SELECT string_agg(activity::text, ' ' ORDER BY 1::text)
	FROM cozi.activities}),
	'days some_days touched', 'an owner drops an activity of their own');

done_testing();
