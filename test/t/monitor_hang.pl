# A hang is red: sessions that wait, transactions that stay open, standbys that
# are none, slots, deadlocks, a failing archive, limits of connections, disks.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('hang');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pg_stat_statements,cozi'
fsync = off
autovacuum = off
max_connections = 30
max_prepared_transactions = 5
archive_mode = on
archive_command = 'true'
deadlock_timeout = 100ms
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION cozi;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE client LOGIN;
CREATE TABLE t (i int);
CREATE TABLE u (i int);
GRANT ALL ON t, u TO client;
CREATE DATABASE other;
SQL

my @watcher = (extra_params => [ '-U', 'watcher' ]);
sub sql { return $node->safe_psql('postgres', $_[0]) }

sub health
{
	my ($metric, $columns) = @_;
	return $node->safe_psql('postgres',
		"SELECT $columns FROM cozi.health WHERE metric = '$metric'", @watcher);
}

# Polls until that expression about a row of health is true.
sub becomes
{
	my ($metric, $expression, $name) = @_;
	my $ok = $node->poll_query_until('postgres',
		"SELECT $expression FROM cozi.health WHERE metric = '$metric'");
	ok($ok, $name) or diag(health($metric, '*'));
	return;
}

sub session
{
	my ($first, @options) = @_;
	my $session = House::session($node, 'postgres', on_error_stop => 0, @options);
	$session->query_safe($first) if $first;
	return $session;
}

# Sends a statement and does not wait for its end.
sub begins
{
	my ($session, $statement) = @_;
	$session->query_until(qr/sent/, "\\echo sent\n$statement;\n");
	return;
}

is(health('waiting_sessions', 'value, state'), '0|ok', 'no session waits: the count is 0');
is(health('commits_waiting', 'value, state'), '0|ok', 'no commit waits: the count is 0');
is(health('longest_wait', 'value, state'), '0|ok', 'no session waits: the longest wait is 0 s');

# locks
my $holder = session('BEGIN; LOCK TABLE t');
my @waiters = map { session() } 1 .. 5;
begins($waiters[0], 'SELECT count(*) FROM t');
becomes(
	'waiting_sessions',
	"value = 1 AND state = 'warn'",
	'one session that waits for a lock is a warning');
begins($_, 'SELECT count(*) FROM t') for @waiters[ 1 .. 4 ];
becomes(
	'waiting_sessions',
	"value = 5 AND state = 'breach'",
	'five sessions that wait for a lock are a breach');
is( health(
		'longest_wait', "value > 3 AND state IN ('warn', 'breach') AND detail ~ 'waits for a lock'"
	),
	't',
	'the longest wait names the process and the kind of the wait');
is(sql("SELECT has_table_privilege('client', 'cozi.health', 'SELECT')"),
	'f', 'a client does not read health');
sql('GRANT USAGE ON SCHEMA cozi TO client; GRANT SELECT ON cozi.health TO client;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cozi TO client;
	GRANT SELECT ON ALL TABLES IN SCHEMA cozi TO client'
);
is( sql("SET client_min_messages = error; SET ROLE client;
	SELECT value IS NULL, state, detail ~ 'hidden' FROM cozi.health
	WHERE metric = 'waiting_sessions'"
	),
	't|unknown|t',
	'a reader who may not see the sessions of others gets unknown and not 0');
$holder->query_safe('COMMIT');
$_->quit for @waiters;
becomes(
	'waiting_sessions',
	"value = 0 AND state = 'ok'",
	'after the lock is released the count is 0 again');

# synchronous replication
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
my $committer = session();
begins($committer, 'INSERT INTO t VALUES (1)');
becomes(
	'commits_waiting',
	"value = 1 AND state = 'warn'",
	'a commit that waits for a synchronous standby is a warning');
is(health('longest_wait', "value > 3 AND detail ~ 'waits for a commit'"),
	't', 'the longest wait is that commit');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$committer->quit;

# transactions
my $idle = session('BEGIN; SELECT txid_current()');
becomes('oldest_transaction', "value > 1 AND state = 'ok'", 'an open transaction has an age');
is(health('idle_in_transaction', "value > 1 AND state = 'ok' AND detail ~ '^1 sessions'"),
	't', 'a session idle in a transaction has an age');
sql("UPDATE cozi.targets SET target = 1, warn = 0.5
    WHERE metric IN ('oldest_transaction', 'idle_in_transaction')"
);
is(health('oldest_transaction', 'state'), 'breach', 'an old transaction is a breach of its target');
is(health('idle_in_transaction', 'state'),
	'breach', 'a session long idle in a transaction is a breach of its target');
is(sql("SELECT state FROM cozi.long_transactions WHERE activity LIKE 'idle in%'"),
	'breach', 'long_transactions judges by the same targets');
$idle->query_safe("PREPARE TRANSACTION 'left'");
becomes(
	'oldest_transaction',
	"state = 'breach' AND detail ~ 'prepared transaction left'",
	'a prepared transaction that is left behind is a breach');
is(health('idle_in_transaction', 'value'), '0', 'a prepared transaction is no session idle in one');
sql("ROLLBACK PREPARED 'left'");
$idle->quit;

# what holds back vacuum here
my $elsewhere = House::session($node, 'other');
$elsewhere->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()');
sql('CREATE TABLE d AS SELECT 1 AS i; DELETE FROM d');
is(sql("SELECT datname, holds_horizon FROM cozi.long_transactions WHERE source = 'session'"),
	'other|f', 'a transaction of another database holds nothing back here');
my ($rc, $out, $err) = $node->psql('postgres', 'VACUUM VERBOSE d');
like(
	$err,
	qr/0 are dead but not yet removable/,
	'vacuum removes the row beside a transaction of another database');
my $here = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM d');
sql('INSERT INTO d VALUES (1); DELETE FROM d');
is( sql("SELECT datname, holds_horizon FROM cozi.long_transactions WHERE source = 'session'
    ORDER BY 1"
	),
	"other|f\npostgres|t",
	'the younger transaction of this database is what holds vacuum back');
($rc, $out, $err) = $node->psql('postgres', 'VACUUM VERBOSE d');
like(
	$err,
	qr/1 are dead but not yet removable/,
	'vacuum cannot remove the row beside a transaction of this database');
$_->quit for $elsewhere, $here;

# what receives WAL and replays none is no standby
my $wal = $node->basedir . '/wal';
mkdir $wal;
my $receiver = IPC::Run::start(
	[ 'pg_receivewal', '-D', $wal, '-d', $node->connstr('postgres') . ' application_name=archive' ],
	'>',
	\my $received,
	'2>',
	\my $receiver_says);
$node->poll_query_until(
	'postgres',
	"SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'
		AND write_lsn IS NOT NULL"
);
sql('INSERT INTO t VALUES (2)');
is(sql("SELECT kind, replay_bytes FROM cozi.replication_lag WHERE name = 'archive'"),
	'receiver|', 'a client that only receives WAL is a receiver and has no replay');
is(health('replication_lag', "value, state, detail ~ '1 receivers'"),
	'|unknown|t', 'a receiver is no standby that lags');
$receiver->kill_kill;

# slots
is(health('inactive_slots', 'value, state'),
	'0|ok', 'without a slot the count of inactive ones is 0');
is(health('retained_wal', 'value, state'), '0|ok', 'without a slot no WAL is retained');
sql("SELECT pg_create_physical_replication_slot('gone', true)");
sql('INSERT INTO t SELECT generate_series(1, 50000)');
is(health('inactive_slots', "value, state, detail ~ 'gone'"),
	'1|warn|t', 'a slot that nobody uses is a warning, by name');
is(health('retained_wal', "value > 1 AND detail ~ 'gone'"),
	't', 'the WAL that the slot retains is counted in MB');
sql("UPDATE cozi.targets SET target = 1 WHERE metric = 'retained_wal'");
is(health('retained_wal', 'state'), 'breach', 'retained WAL above its target is a breach');
sql("SELECT pg_drop_replication_slot('gone')");

# a deadlock in the period
is(health('deadlocks', 'value, state'), '0|ok', 'without a deadlock the count is 0');
sql('SELECT cozi.snapshot()');
sql("UPDATE cozi.snapshots SET taken_at = taken_at - interval '16 min'");
my ($one, $two) = (session('BEGIN; LOCK TABLE t'), session('BEGIN; LOCK TABLE u'));
begins($one, 'LOCK TABLE u');
begins($two, 'LOCK TABLE t');
$_->quit for $one, $two;
becomes(
	'deadlocks',
	"value = 1 AND state = 'warn' AND source = 'snapshots'",
	'a deadlock in the period is a warning');

# the archive
becomes('archiver', "value = 0 AND state = 'ok'", 'an archive that works is no news');
$node->append_conf('postgresql.conf', "archive_command = 'false'");
$node->reload;
sql('SELECT pg_switch_wal()');
becomes(
	'archiver',
	"value > 1 AND state = 'warn' AND detail ~ 'fails'",
	'an archive that fails is a warning');

# connections
is(health('connections', "value < 50 AND state = 'ok'"), 't', 'two connections are few');
sql('ALTER ROLE client CONNECTION LIMIT 1');
my $only = session('SELECT 1', extra_params => [ '-U', 'client' ]);
is(health('connections', "value = 100 AND state = 'breach' AND detail ~ 'role client'"),
	't', 'a role at its limit of connections is a breach, by name');
$only->quit;
sql('ALTER DATABASE other CONNECTION LIMIT 1');
$elsewhere = House::session($node, 'other');
becomes(
	'connections',
	"value = 100 AND state = 'breach' AND detail ~ 'database other'",
	'a database at its limit of connections is a breach, by name');
$elsewhere->quit;

# the machine
my ($df) = `df -P @{[ $node->data_dir ]}` =~ /(\d+)%/;
my ($used) = sql("SELECT round(100 * used) FROM cozi.disk_usage() WHERE place = 'data directory'");
cmp_ok(abs($df - $used), '<=', 1, "the data directory's disk is $used % full, df says $df %");
is(health('disk', "value BETWEEN 0 AND 100 AND detail ~ 'free'"),
	't', 'health shows the fullest disk');
my $root = PostgreSQL::Test::Utils::tempdir;
mkdir $_ for "$root/proc", "$root/proc/net";
append_to_file("$root/proc/net/dev",
		"Inter-|   Receive  |  Transmit\n face |bytes packets\n"
	  . "    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n"
	  . "  eth0: 1000 9 0 0 0 0 0 0 200 8 0 0 0 0 0 0\n  eth1:7 1 0 0 0 0 0 0 3 1 0 0 0 0 0 0\n");
append_to_file("$root/proc/uptime", "100.5 50.0\n");
is(sql("SELECT * FROM cozi.network('$root')"),
	'1210|100.5', 'the network is the sum of all interfaces but the loopback');
is(sql("SELECT * FROM cozi.network('$root/nowhere')"),
	'|', 'a system without /proc has no figures of its network');
is(health('network', 'state, target'), 'unknown|', 'the network has no target by default');
sql("UPDATE cozi.targets SET target = 1e18 WHERE metric = 'network'");
is(health('network', "value >= 0 AND state = 'ok' AND source = 'snapshots'"),
	't', 'the network has a rate since the snapshot, and a target when the administrator sets one');
is( $node->safe_psql(
		'postgres', "SELECT count(*) FROM cozi.health WHERE state IS NULL OR detail IS NULL",
		@watcher),
	'0',
	'every row of health has a state and a detail');

$node->stop;
done_testing();
