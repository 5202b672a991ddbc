# The worker that takes snapshots: between ticks it is nowhere, and whatever
# ends one snapshot, the next one comes.

use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Warm;

# a disk that is full while a file exists
my $dir = PostgreSQL::Test::Utils::tempdir();
system(
	'cc', qw(-O1 -Wall -Wextra -Werror -shared -fPIC -o),
	"$dir/full_disk.so", 'test/t/monitor_full_disk.c',
	'-ldl') == 0
  or BAIL_OUT('monitor_full_disk.c does not compile');

my $node = Warm->new('worker');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'pg_stat_statements,cozi'
cozi.snapshot_interval = 1
restart_after_crash = on
autovacuum = off
END
{
	local $ENV{LD_PRELOAD} = "$dir/full_disk.so";
	local $ENV{COZI_FULL_DISK} = "$dir/full";
	$node->start;
}
my $q = sub { return $node->safe_psql('postgres', $_[0]); };

# n more snapshots since this was asked
sub more
{
	my ($server, $n, $what) = @_;
	my $now = $server->safe_psql('postgres', 'SELECT snapshots FROM cozi.latency_stats()');
	ok( $server->poll_query_until(
			'postgres', "SELECT snapshots >= $now + $n FROM cozi.latency_stats()"),
		$what);
	return;
}

sub fails_more
{
	my ($server, $what) = @_;
	ok( $server->poll_query_until(
			'postgres',
			'SELECT snapshot_failures > '
			  . $server->safe_psql('postgres', 'SELECT snapshot_failures FROM cozi.latency_stats()')
			  . ' FROM cozi.latency_stats()'),
		$what);
	return;
}

sub setting
{
	my ($server, $name, $value) = @_;
	$server->append_conf('postgresql.conf', "$name = '$value'");
	$server->reload;
	return;
}

$q->('CREATE EXTENSION cozi; CREATE EXTENSION pg_stat_statements; CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
is($q->('SELECT snapshots, snapshot_failures FROM cozi.latency_stats()'),
	'0|0', 'no database named, nothing happens');

setting($node, 'cozi.snapshot_database', 'app');
more($node, 2, 'a snapshot each second');
is($node->safe_psql('app', 'SELECT count(*) >= 2 FROM cozi.snapshots'),
	't', 'they are in the tables');

# several databases, and all that have the extension
sub snapshots_of { return $node->safe_psql($_[0], 'SELECT count(*) FROM cozi.snapshots'); }
setting($node, 'cozi.snapshot_database', 'app, "postgres"');
ok($node->poll_query_until('postgres', 'SELECT count(*) > 1 FROM cozi.snapshots'),
	'a list of databases has each of them snapshot');
my $of_app = snapshots_of('app');
ok($node->poll_query_until('app', "SELECT count(*) > $of_app FROM cozi.snapshots"),
	'the first database of the list goes on');
my ($failures) = $q->('SELECT snapshot_failures FROM cozi.latency_stats()');
$q->('CREATE DATABASE without_cozi');
setting($node, 'cozi.snapshot_database', '*');
my ($in_app, $in_postgres) = (snapshots_of('app'), snapshots_of('postgres'));
ok( $node->poll_query_until($_->[0], "SELECT count(*) > $_->[1] + 1 FROM cozi.snapshots"),
	"with * database $_->[0] is snapshot, too")
  for [ 'app', $in_app ], [ 'postgres', $in_postgres ];
is($q->('SELECT snapshot_failures FROM cozi.latency_stats()'),
	$failures, 'a database without the extension is passed over');
$q->('DROP DATABASE without_cozi');
setting($node, 'cozi.snapshot_database', 'app');
$q->('DELETE FROM cozi.snapshots');

for my $i (1 .. 5)
{
	$q->("CREATE DATABASE copy$i TEMPLATE app; DROP DATABASE copy$i");
}
pass('nothing is connected between ticks: the database serves as a template');

# what has no client of its own asks all the same
$node->psql('postgres', 'SELECT 4711 AS walsender', replication => 'database');
is( $q->(
		"SELECT DISTINCT s.query, l.calls >= 1 FROM pg_stat_statements s JOIN cozi.latency() l
			USING (dbid, userid, queryid) WHERE s.query ~ '(walsender|cozi.snapshot..)\$'
			AND s.toplevel ORDER BY 1"
	),
	"SELECT \$1 AS walsender|t\nSELECT cozi.snapshot()|t",
	'statements of a walsender and of a background worker count');

# the database goes away, and comes back
$q->('DROP DATABASE app');
fails_more($node, 'the database is dropped');
$q->('CREATE DATABASE app');
setting($node, 'cozi.snapshot_interval', '1');
fails_more($node, 'there is no cozi in the new one');
$node->safe_psql('app', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
setting($node, 'cozi.snapshot_interval', '1');
more($node, 1, 'snapshots are taken again once the extension is there');
like(
	slurp_file($node->logfile),
	qr/there is no extension "cozi" in database "app"/,
	'the log says why no snapshot was taken');

# a full disk
sub unaccounted
{
	setting($node, 'cozi.snapshot_interval', '0');
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cozi snapshot'")
	  or die;
	my $rows = $node->safe_psql('app',
		'SELECT (SELECT count(*) FROM cozi.snapshots) - snapshots FROM cozi.latency_stats()');
	setting($node, 'cozi.snapshot_interval', '1');
	return $rows;
}
my $rows = unaccounted();
my $log = -s $node->logfile;
append_to_file("$dir/full", '');
my (undef, undef, $error) = $node->psql('app',
	"\\set VERBOSITY verbose\nCREATE TABLE no_room AS SELECT i FROM generate_series(1, 1000) i");
like(
	$error,
	qr{ERROR:  53100: could not (?:extend|write|allocate).* "base/.*: No space left on device},
	'the disk is full');
fails_more($node, 'no snapshot') for 1 .. 2;
is( $q->(
		"SELECT class, name, count >= 3 FROM cozi.error_rate WHERE datname = 'app'
			AND sqlstate = '53100'"
	),
	'server|disk_full|t',
	'... which are errors of the server');
my $said = substr slurp_file($node->logfile), $log;
my $full = 'ERROR:  could not extend file';
my $next = 'the next snapshot is attempted';
like(
	$said,
	qr/$full.*LOG:  $next in 2 s\n.*$full.*LOG:  $next in 4 s\n/s,
	'... and the log says when the next one comes');
unlink "$dir/full";
more($node, 1, 'there is room again, and it goes on by itself');
more($node, 2, '... every second');
is(unaccounted(), $rows, '... nothing is kept of the ones that failed');
is( $node->safe_psql(
		'app',
		'SELECT count(*) FROM ((SELECT snapshot FROM cozi.snapshot_databases UNION SELECT snapshot
			FROM cozi.snapshot_statements
		UNION SELECT snapshot FROM cozi.snapshot_latencies UNION SELECT snapshot
			FROM cozi.snapshot_errors) EXCEPT SELECT snapshot FROM cozi.snapshots) half'
	),
	'0',
	'... not a row');
is( $node->safe_psql(
		'app',
		'SELECT count(*) FROM cozi.snapshots s
			WHERE NOT EXISTS (SELECT FROM cozi.snapshot_statements r WHERE r.snapshot = s.snapshot)'
	),
	'0',
	'... and the others are whole');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, '... in the same server');

# who replaces the function runs it as its owner, not as a superuser
$node->safe_psql(
	'app',
	"CREATE ROLE tenant; GRANT ALL ON SCHEMA cozi TO tenant; CREATE TABLE who (name text);
	GRANT ALL ON who TO tenant;
	ALTER FUNCTION cozi.snapshot(interval) OWNER TO tenant");
$node->safe_psql(
	'app',
	"SET ROLE tenant; CREATE OR REPLACE FUNCTION cozi.snapshot(retention interval DEFAULT NULL)
		RETURNS bigint LANGUAGE sql AS 'INSERT INTO public.who VALUES (current_user);
		SELECT 1::bigint'"
);
# not one that was under way before
$node->poll_query_until('app', 'SELECT count(*) > 0 FROM who');
more($node, 1, 'a replaced function');
is($node->safe_psql('app', 'SELECT DISTINCT name FROM who'), 'tenant', 'runs as its owner');
$node->safe_psql('app',
	'DROP EXTENSION cozi; REVOKE CREATE ON SCHEMA cozi FROM tenant; CREATE EXTENSION cozi');
setting($node, 'cozi.snapshot_interval', '1');
more($node, 1, 'snapshots are taken again by the extension\'s own function');

# a crash and a restart
$node->restart;
more($node, 1, 'after a restart');
unlike(
	slurp_file($node->logfile),
	qr/FATAL:  terminating background worker "cozi snapshot launcher"/,
	'the launcher ends at a restart without a FATAL');

# a standby takes none, until it is promoted
$node->backup('b');
my $standby = Warm->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is( $standby->safe_psql(
		'postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cozi snapshot%'"),
	'0',
	'nothing runs on a standby');
is( $standby->safe_psql(
		'app', 'SELECT cozi.latency_reason() IS NULL, (SELECT sum(calls) >= 0 FROM cozi.latency())'
	),
	't|t',
	'where latencies are measured all the same');
$node->stop;
$standby->promote;
more($standby, 1, 'the promoted standby goes on');
setting($standby, 'cozi.snapshot_interval', '0');
sleep 1;
my $off = $standby->safe_psql('postgres', 'SELECT snapshots FROM cozi.latency_stats()');
sleep 2;
is($standby->safe_psql('postgres', 'SELECT snapshots FROM cozi.latency_stats()'),
	$off, 'an interval of 0 takes none');
$standby->stop;

done_testing();
