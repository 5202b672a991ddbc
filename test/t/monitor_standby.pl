# On a real standby: every view answers, lag is 0 when idle and grows while
# replay is paused; snapshots of the primary are not mistaken for its own.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = House::server('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_stat_statements,cozi'\nfsync = off\nautovacuum = off");
$primary->start;
$primary->safe_psql(
	'postgres',
	'CREATE EXTENSION cozi; CREATE EXTENSION pg_stat_statements; CREATE TABLE t (a text);
	CREATE UNLOGGED TABLE passing (who int, at timestamptz DEFAULT now());
	INSERT INTO passing VALUES (1);
	SELECT cozi.create_activity(\'passing_days\', \'passing\', \'who\', \'at\');
	SELECT cozi.create_counter(\'passing_count\', \'passing\', \'who\');
	SELECT cozi.snapshot(); SELECT pg_create_physical_replication_slot(\'kept\', true)');
$primary->backup('b');
my $standby = House::server('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf',
	"hot_standby_feedback = on\nwal_receiver_status_interval = 1s");
$standby->start;
$primary->wait_for_catchup($standby);

sub primary { return $primary->safe_psql('postgres', $_[0]) }
sub standby { return $standby->safe_psql('postgres', $_[0]) }

my @views = split /\n/, primary(
	q{SELECT c.oid::regclass FROM pg_class c
	WHERE c.relnamespace = 'cozi'::regnamespace AND c.relkind = 'v'
		AND has_table_privilege('pg_monitor', c.oid, 'SELECT') ORDER BY 1}
);
my $all_views = join '', map { "SELECT * FROM $_;\n" } @views;
for my $node ($primary, $standby)
{
	my ($rc, $out, $err) = $node->psql('postgres', $all_views, on_error_stop => 0);
	is($err, '', @views . ' views answer on the ' . $node->name);
}
is( standby(
		q{SELECT a.pending, a.state, a.last_error, h.dau, h.reason
	FROM cozi.activities a JOIN cozi.activity_health h USING (activity)}
	),
	'|ok|its source is unlogged, and a standby has none of its rows.|0|',
	'an activity that a standby has no rows of says so');
like(
	(   $standby->psql(
			'postgres', q{SELECT cozi.active_users('passing_days', '2026-01-01', '2026-01-02')})
	)[2],
	qr/a standby has no rows of an unlogged table/,
	'a question about an activity that a standby has no rows of is refused');
isnt(standby('SELECT count(*) FROM cozi.slow_queries'),
	'0', 'a standby has slow queries of its own');
my $since = standby('SELECT stats_since FROM cozi.latency_stats()');
$standby->restart;
is(standby('SELECT stats_since FROM cozi.latency_stats()'),
	$since, '... and keeps them over a restart');

# Asked again where the server wrote WAL of its own a moment ago.
sub sees_no_lag
{
	my ($node, $kind, $what) = @_;
	return ok(
		$node->poll_query_until(
			'postgres', "SELECT (lag_s, replay_bytes, state) = (0, 0, 'streaming')
				FROM cozi.replication_lag WHERE kind = '$kind'"),
		$what);
}

# idle: nothing is behind, however long ago the last transaction was
my $began = time;
primary('CREATE TABLE before_idle ()');
$primary->wait_for_catchup($standby);
sleep 2;
sees_no_lag($primary, 'standby', 'idle: the primary sees no lag');
sees_no_lag($standby, 'this server', 'idle: the standby sees no lag');
is(standby("SELECT value, state FROM cozi.health WHERE metric = 'replication_lag'"),
	'0|ok', 'idle: health is ok');
cmp_ok(standby('SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())'),
	'>', 1.9, '... where the usual formula says it is behind');

# replay paused, 16 MB written
standby('SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', q{SELECT pg_get_wal_replay_pause_state() = 'paused'});
primary('INSERT INTO t SELECT repeat(md5(g::text), 30) FROM generate_series(1, 16000) g');
my $lsn = primary('SELECT pg_current_wal_lsn()');
$standby->poll_query_until('postgres', "SELECT pg_last_wal_receive_lsn() >= '$lsn'");
sleep 2;
my $bytes =
  primary("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) FROM pg_stat_replication");
cmp_ok($bytes, '>', 12 * 1024 * 1024, "paused: $bytes bytes are behind");
# exactly: asked again where the server wrote WAL of its own between the two readings
ok( $primary->poll_query_until(
		'postgres', q{
	SELECT l.replay_bytes = pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn) AND l.sent_bytes = 0
		AND l.state = 'streaming'
	FROM cozi.replication_lag l, pg_stat_replication r WHERE l.kind = 'standby'}),
	'paused: the primary sees the bytes');
my $got = standby("SELECT replay_bytes FROM cozi.replication_lag WHERE kind = 'this server'");
cmp_ok(abs($got - $bytes), '<', 65536, "paused: so does the standby ($got)");
is( standby(
		"SELECT lag_s BETWEEN 1.9 AND 1 + extract(epoch FROM now()) - $began, state
			FROM cozi.replication_lag WHERE kind = 'this server'"
	),
	't|paused',
	'paused: the standby knows for how long');
primary("UPDATE cozi.targets SET target = 1, warn = 0.5 WHERE metric = 'replication_lag'");
like(
	primary("SELECT detail FROM cozi.health WHERE metric = 'replication_lag'"),
	qr/^1\d MB behind/,
	'paused: health on the primary tells the bytes');
is( primary(
		"SELECT retained_bytes > 12 * 1024 * 1024, state FROM cozi.replication_lag
			WHERE kind = 'slot' AND name = 'kept'"
	),
	't|inactive',
	'a slot tells what it retains');

standby('SELECT pg_wal_replay_resume()');
$primary->wait_for_catchup($standby);
$primary->poll_query_until('postgres',
	"SELECT lag_s = 0 FROM cozi.replication_lag WHERE kind = 'standby'");
sees_no_lag($standby, 'this server', 'resumed: 0 again');

# the primary's snapshots are there, and of no use
isnt(standby('SELECT count(*) FROM cozi.snapshot_statements'),
	'0', "the primary's snapshots are replicated");
is(standby("SELECT cozi.snapshot_at('infinity') IS NULL, cozi.stats_epoch() IS NULL"),
	't|t', '... but not compared with');
unlike(standby("SELECT source FROM cozi.health WHERE metric = 'query_time'"),
	qr/snapshots/, '... nor by health');
my ($rc, $out, $err) = $standby->psql('postgres', 'SELECT cozi.snapshot()');
like(
	$err,
	qr/ERROR:  a standby cannot keep snapshots\nHINT:  Take them on the primary\./,
	'snapshot() on a standby says where to take them');

# the connection is lost: not 0, and not an error
$primary->stop('fast');
$standby->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)');
is( standby("SELECT lag_s > 0, state FROM cozi.replication_lag"),
	't|not streaming',
	'without its primary a standby is not 0 behind');

# promoted: a new timeline, a new epoch
$standby->promote;
standby('SELECT cozi.snapshot()');
is( standby(
		"SELECT count(DISTINCT epoch), cozi.snapshot_at('-infinity') = max(snapshot)
			FROM cozi.snapshots"
	),
	'2|t',
	'promoted: only its own snapshots are compared');
($rc, $out, $err) = $standby->psql('postgres', $all_views, on_error_stop => 0);
is($err, '', 'promoted: every view answers');
$standby->stop;
done_testing();
