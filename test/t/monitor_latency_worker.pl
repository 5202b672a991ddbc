# The worker that takes snapshots: between ticks it is nowhere, and whatever
# ends one snapshot, the next one comes.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'pg_stat_statements,cozi'
cozi.snapshot_interval = 1
restart_after_crash = on
END
$node->start;
my $q = sub { return $node->safe_psql('postgres', $_[0]); };

# n more snapshots since this was asked
sub more
{
	my ($server, $n, $what) = @_;
	my $now = $server->safe_psql('postgres', 'SELECT snapshots FROM cozi.latency_stats()');
	ok($server->poll_query_until('postgres', "SELECT snapshots >= $now + $n FROM cozi.latency_stats()"), $what);
	return;
}

sub fails_more
{
	my ($server, $what) = @_;
	ok($server->poll_query_until('postgres', 'SELECT snapshot_failures > ' . $server->safe_psql('postgres', 'SELECT snapshot_failures FROM cozi.latency_stats()') . ' FROM cozi.latency_stats()'), $what);
	return;
}

sub setting
{
	my ($server, $name, $value) = @_;
	$server->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$server->reload;
	return;
}

$q->('CREATE EXTENSION cozi; CREATE EXTENSION pg_stat_statements; CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
is($q->('SELECT snapshots, snapshot_failures FROM cozi.latency_stats()'), '0|0', 'no database named, nothing happens');

setting($node, 'cozi.snapshot_database', 'app');
more($node, 2, 'a snapshot each second');
is($node->safe_psql('app', 'SELECT count(*) >= 2 FROM cozi.snapshots'), 't', 'they are in the tables');
for my $i (1 .. 5)
{
	$q->("CREATE DATABASE copy$i TEMPLATE app; DROP DATABASE copy$i");
}
pass('nothing is connected between ticks: the database serves as a template');

# the database goes away, and comes back
$q->('DROP DATABASE app');
fails_more($node, 'the database is dropped');
$q->('CREATE DATABASE app');
setting($node, 'cozi.snapshot_interval', '1');
fails_more($node, 'there is no cozi in the new one');
$node->safe_psql('app', 'CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi');
setting($node, 'cozi.snapshot_interval', '1');
more($node, 1, 'it is back');
like(slurp_file($node->logfile), qr/there is no extension "cozi" in database "app"/, 'and the log said why there was none');

# a snapshot that cannot be written, as on a full disk
$node->safe_psql('app', "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END\$\$;
	CREATE TRIGGER no_space BEFORE INSERT ON cozi.snapshots FOR EACH STATEMENT EXECUTE FUNCTION no_space()");
fails_more($node, 'the disk is full');
is($q->("SELECT count > 0 FROM cozi.errors() e JOIN pg_database d ON d.oid = e.dbid WHERE d.datname = 'app' AND sqlstate = '53100'"), 't', 'which is counted as an error');
$node->safe_psql('app', 'DROP TRIGGER no_space ON cozi.snapshots');
setting($node, 'cozi.snapshot_interval', '1');
more($node, 1, 'there is room again');

# who replaces the function runs it as its owner, not as a superuser
$node->safe_psql('app', "CREATE ROLE tenant; GRANT ALL ON SCHEMA cozi TO tenant; CREATE TABLE who (name text); GRANT ALL ON who TO tenant;
	ALTER FUNCTION cozi.snapshot(interval) OWNER TO tenant");
$node->safe_psql('app', "SET ROLE tenant; CREATE OR REPLACE FUNCTION cozi.snapshot(retention interval DEFAULT NULL) RETURNS bigint LANGUAGE sql AS 'INSERT INTO public.who VALUES (current_user); SELECT 1::bigint'");
more($node, 1, 'a replaced function');
is($node->safe_psql('app', 'SELECT DISTINCT name FROM who'), 'tenant', 'runs as its owner');
$node->safe_psql('app', 'DROP EXTENSION cozi; CREATE EXTENSION cozi');
setting($node, 'cozi.snapshot_interval', '1');
more($node, 1, 'and back');

# a crash and a restart
$node->restart;
more($node, 1, 'after a restart');
unlike(slurp_file($node->logfile), qr/FATAL:  terminating background worker "cozi snapshot launcher"/, 'which the launcher leaves quietly');

# a standby takes none, until it is promoted
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cozi snapshot%'"), '0', 'nothing runs on a standby');
is($standby->safe_psql('app', 'SELECT cozi.latency_reason() IS NULL, (SELECT sum(calls) >= 0 FROM cozi.latency())'), 't|t', 'where latencies are measured all the same');
$node->stop;
$standby->promote;
more($standby, 1, 'the promoted standby goes on');
setting($standby, 'cozi.snapshot_interval', '0');
sleep 1;
my $off = $standby->safe_psql('postgres', 'SELECT snapshots FROM cozi.latency_stats()');
sleep 2;
is($standby->safe_psql('postgres', 'SELECT snapshots FROM cozi.latency_stats()'), $off, 'an interval of 0 takes none');
$standby->stop;

done_testing();
