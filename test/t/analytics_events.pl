# Tables of events: the call of a web client as PostgREST makes it, a worker that makes
# the partitions, readers who hold one, a crash between closing and detaching, a dump.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('events');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'cozi'\ncozi.trusted_gateways = 'authenticator'\n");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q{
	CREATE EXTENSION cozi;
	CREATE ROLE owner; CREATE ROLE authenticator LOGIN NOINHERIT; CREATE ROLE authenticated;
	GRANT authenticated TO authenticator;
	SELECT cozi.grant_owner('owner'), cozi.grant_app('authenticated');
	CREATE SCHEMA app AUTHORIZATION owner; CREATE SCHEMA api AUTHORIZATION owner;
	GRANT USAGE ON SCHEMA app, api TO authenticated;
	SET ROLE owner;
	SELECT cozi.create_events('app.events', '1 day', '30 days', ahead => 2);
	SELECT cozi.create_activity('days', 'app.events', 'user_id', time_zone => 'Europe/Paris');
	GRANT INSERT (event, properties, client_at) ON app.events TO authenticated;
	CREATE FUNCTION api.track_event(event text, properties jsonb = '{}', "timestamp" float8 = NULL)
	RETURNS void LANGUAGE sql
	BEGIN ATOMIC SELECT cozi.track_event('app.events', event, properties, "timestamp"); END;
});

# PostgREST's statements for supabase.rpc('track_event', {...}).
sub rpc
{
	my ($payload, $subject) = @_;
	my $claims = defined $subject ? qq({"role":"authenticated","sub":"$subject"}) : '';
	return $node->psql(
		'postgres', qq{BEGIN;
		SELECT set_config('search_path', 'api', true), set_config('role', 'authenticated', true),
		       set_config('request.jwt.claims', '$claims', true);
		WITH pgrst_source AS (
			SELECT pgrst_call.pgrst_scalar
			FROM (SELECT '$payload'::json AS json_data) pgrst_payload,
			LATERAL (SELECT "event", "properties", "timestamp" FROM json_to_record(
				pgrst_payload.json_data) AS _("event" text, "properties" jsonb,
				"timestamp" double precision) LIMIT 1) pgrst_body,
			LATERAL (SELECT "api"."track_event"("event" := pgrst_body."event",
				"properties" := pgrst_body."properties",
				"timestamp" := pgrst_body."timestamp") pgrst_scalar) pgrst_call)
		SELECT count(*) FROM pgrst_source; COMMIT;},
		connstr => $node->connstr('postgres') . ' user=authenticator',
		on_error_die => 0);
}
my $ann = '00000000-0000-4000-8000-00000000000a';
is((rpc('{"event":"view_post","properties":{"post_id":7},"timestamp":1764345600123}', $ann))[0],
	0, 'the call of a web client tracks an event');
is( sql(q{SELECT event, properties ->> 'post_id', client_at AT TIME ZONE 'UTC', user_id
	FROM app.events}),
	"view_post|7|2025-11-28 16:00:00.123|$ann",
	'an event has its properties, the clock of the client and the identity of the caller');
is(sql(q{SELECT count(*) FROM app.days_live}), 1, 'an event of a web client gives its user a day');
my ($rc, $out, $err) = rpc('{"event":"view_post","properties":{},"timestamp":1764345600123}');
like($err, qr/nobody is logged in/, 'a client without a token tracks no event');

# A worker makes partitions: the insert asks, and nobody calls.
sub settled
{
	return $node->poll_query_until('postgres',
		q{SELECT NOT EXISTS (SELECT FROM cozi._events_plan('app.events'))});
}
sql(q{SET ROLE owner; SELECT cozi.set_events('app.events', '1 day', '30 days', ahead => 5)});
$node->restart;
rpc('{"event":"view_post","properties":{}}', $ann);
ok(settled(), 'an insert has the worker make the partitions ahead');
is(sql(q{SELECT partitions, state FROM cozi.event_tables}), '6|ok', 'six days have a partition');

# Rows far back: moved, closed, detached, while a reader holds the table for a while.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
sql(q{SET ROLE owner; INSERT INTO app.events (event, user_id, created_at)
	SELECT 'old', md5((g % 7)::text)::uuid, now() - g * interval '12 hours'
	FROM generate_series(1, 100) g});
my $days = q{SELECT count(*), sum(days::bigint) FROM app.days_live};
my $before = sql($days);
my $reader = House::session($node, 'postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM app.events');
my $maintain = q{SELECT DISTINCT action FROM cozi.maintain_events('app.events') ORDER BY 1};
is(sql($maintain), 'failed', 'a reader in a transaction holds up maintenance');
is( sql(q{SET lock_timeout = '10s'; SET ROLE owner; INSERT INTO app.events (event, user_id)
	VALUES ('new', md5('8')::uuid) RETURNING event}),
	'new', 'an insert waits neither for the reader nor for maintenance');
$reader->query_safe('COMMIT');
$reader->quit;
sql(q{SET ROLE owner; DELETE FROM app.events WHERE event = 'new'});
is(sql($maintain), 'moved', 'rows move to partitions once the reader is gone');
is(sql($days), $before, 'rows that move change no day');
is(sql($maintain), 'closed', 'the days of partitions that are to go are closed first');
is(sql($days), $before, 'days that are closed do not change');
is(sql(q{SELECT count(*) FROM cozi.verify_activity('app.days')}),
	0, 'an activity equals a recount after rows have moved and days are closed');
$node->stop('immediate');
$node->start;
my $reader2 = House::session($node, 'postgres');
$reader2->query_safe('BEGIN; SELECT count(*) FROM app.events');
is(sql($maintain), 'failed', 'a partition is not detached under a reader');
$reader2->query_safe('COMMIT');
$reader2->quit;
sql('SELECT cozi.maintain_events()') for 1 .. 2;
is(sql(q{SELECT count(*) FROM cozi._events_plan('app.events')}), 0, 'the next call goes on');
is(sql($days), $before, 'detaching after a crash changes no day');
is( sql(q{SELECT state, (SELECT count(*) FROM cozi.verify_activity('app.days'))
	FROM cozi.activities}),
	'ok|0', 'an activity equals a recount after partitions have gone');
my $left = sql(q{SELECT count(*) FROM app.events WHERE event = 'old'});
cmp_ok($left, '<', 70, 'old events have gone with their partitions');
my @detached = split /\n/, sql(q{SELECT oid::regclass FROM pg_class
	WHERE relname ~ '^events_[0-9_]+$' AND relkind = 'r' AND NOT relispartition});
is(sql('SELECT ' . join ' + ', map { "(SELECT count(*) FROM $_)" } @detached),
	100 - $left, 'every event that went is in a detached table');
$node->psql('postgres', q{BEGIN ISOLATION LEVEL REPEATABLE READ;
	SELECT cozi.maintain_events('app.events')}, stderr => \$err);
like($err, qr/cannot run in a transaction above READ COMMITTED/,
	'maintenance with an old snapshot is refused');

# Restored, it goes on: settings, policy and defaults are those of the table.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/events.dump";
sql('CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ],
	'a database with events is dumped');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), $dump ],
	'a database with events is restored without an error');
is( $node->safe_psql(
		'restored', q{SELECT every, keep, ahead, state,
	(SELECT count(*) FROM cozi.maintain_events()),
	(SELECT count(*) FROM cozi.verify_activity('app.days'))
	FROM cozi.event_tables}),
	sql(q{SELECT every, keep, ahead, state, 0, 0 FROM cozi.event_tables}),
	'a restored table of events is kept as before');
is($node->safe_psql('restored', $days), $before, 'a restored activity has the closed days');
$node->psql('restored', q{DROP EXTENSION cozi}, stderr => \$err);
like($err, qr/other objects depend on it/, 'the extension is not dropped under a table of events');
done_testing();
