# Known workloads give known numbers: the machine from files of known content,
# a cache-hit ratio counted by hand, windows across resets, evictions and an
# update of pg_stat_statements, targets through pg_dump.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('health');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_stat_statements,cozi'\npg_stat_statements.max = 100\n" .
		"fsync = off\nautovacuum = off\nshared_buffers = 16MB\nmax_connections = 20"
);
$node->start;
$node->safe_psql('postgres',
	"CREATE EXTENSION cozi; CREATE EXTENSION pg_stat_statements VERSION '1.9';
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor"
);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The machine

my $root = PostgreSQL::Test::Utils::tempdir;

sub put
{
	my ($file, $text) = @_;
	my $dir = $root . '/' . ($file =~ s,/[^/]*$,,r);
	system("mkdir -p '$dir'") == 0  or die;
	open my $fh, '>', "$root/$file" or die;
	print $fh $text;
	close $fh;
	return;
}

# Reads the load, writes the second files, and reads again a second later.
sub load
{
	my ($columns, %later) = @_;
	my $in = "SELECT 1 FROM cozi.os_load('$root');\n";
	my ($stdin, $stdout) = ('', '');
	my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$stdin, '>', \$stdout);
	$stdin .= $in . "\\echo first\n";
	$h->pump until $stdout =~ /first/;
	put($_, $later{$_}) for keys %later;
	$stdin .= "SELECT pg_sleep(1.1);\nSELECT $columns FROM cozi.os_load('$root');\n\\q\n";
	$h->finish;
	$stdout =~ s/.*first\n//s;
	$stdout =~ s/^\n//;
	chomp $stdout;
	return $stdout;
}

my $meminfo =
  "MemTotal:       1000000 kB\nMemFree:          10000 kB\nMemAvailable:    250000 kB\n" .
      "Buffers: 1 kB\n";
is(sql("SELECT l FROM cozi.os_load('$root/nowhere') l"), '(,,,,,,)',
	'a system without /proc: NULL');
put('proc/stat', "cpu  1000 100 400 8000 500 0 0 0 0 0\ncpu0 1 1 1 1\n");
put('proc/meminfo', $meminfo);
# busy + 30 + 10 + 5 + 3 + 2, waiting for a disk + 20, idle + 30: 50 of 100
is( load(
		"round(cpu::numeric, 4), memory, memory_used, memory_total, source, cpu_period > '1 s'",
		'proc/stat' => "cpu  1030 100 410 8030 520 5 3 2 0 0\ncpu0 1 1 1 1\n"),
	'0.5000|0.75|768000000|1024000000|/proc|t',
	'CPU and memory of a machine');
put('proc/stat', "cpu  1000 100 400 8000 500 0 0 0 0 0\n");
is(load('cpu'), '', 'no tick between two samples: unknown, not 0');
put('proc/stat', "nonsense\n");
put('proc/meminfo', "MemTotal: many kB\n");
is(load('cpu, memory'), '|', 'nonsense in the files: unknown, not an error');
put('proc/meminfo', $meminfo);

# a cgroup whose parent has the limits: 2 processors, 512 MB
put('proc/self/cgroup', "1:name=systemd:/x\n0::/pod/one\n");
put('sys/fs/cgroup/pod/one/cpu.max', "max 100000\n");
put('sys/fs/cgroup/pod/one/memory.max', "max\n");
put('sys/fs/cgroup/pod/cpu.max', "200000 100000\n");
put('sys/fs/cgroup/pod/cpu.stat', "usage_usec 5000000\nuser_usec 1\n");
put('sys/fs/cgroup/pod/memory.max', "536870912\n");
put('sys/fs/cgroup/pod/memory.current', "402653184\n");
put('sys/fs/cgroup/pod/memory.stat', "anon 1\ninactive_file 134217728\nactive_file 5\n");
is( load('cpus, memory, source, round((cpu * 2 * extract(epoch FROM cpu_period))::numeric, 1)',
		'sys/fs/cgroup/pod/cpu.stat' => "usage_usec 6000000\nuser_usec 1\n") =~
	  s/\|1\.0$/|about 1 s/r,
	'2|0.5|cgroup|about 1 s',
	'CPU and memory of a container: its limits, not the machine');
put('sys/fs/cgroup/pod/one/memory.max', "268435456\n");
put('sys/fs/cgroup/pod/one/memory.current', "26843546\n");
is(load('round(memory::numeric, 3)'), '0.100', 'the tightest limit counts');

# the real thing, beside what the server reads of the same files
SKIP:
{
	skip 'no /proc/meminfo', 2 unless -r '/proc/meminfo' && !-r '/sys/fs/cgroup/memory.max';
	my ($ours, $theirs) = split /\|/, sql(
		q{SELECT memory, 1 - (substring(m FROM 'MemAvailable: *(\d+)')::float8 / substring(m
			FROM 'MemTotal: *(\d+)')::float8)
		FROM cozi.os_load(), pg_read_file('/proc/meminfo') m});
	cmp_ok(abs($ours - $theirs), '<', 0.02, "memory: $ours, by hand $theirs");
	cmp_ok(sql('SELECT cpu FROM cozi.os_load()'), '>=', 0, 'a first call samples twice');
}

# The cache

sql('CREATE TABLE pages (a text) WITH (fillfactor = 10); INSERT INTO pages SELECT repeat(\'x\', 500)
    FROM generate_series(1, 200); CHECKPOINT'
);
my $pages = sql("SELECT pg_relation_size('pages') / 8192");
$node->restart;
sql('SELECT pg_stat_reset()');
sql('SELECT count(*) FROM pages; SELECT pg_stat_force_next_flush()');
is(sql("SELECT hit, read, ratio FROM cozi.cache_hit WHERE relation = 'pages'::regclass"),
	"0|$pages|0", "$pages pages read: none was in the cache");
sql('SELECT count(*) FROM pages; SELECT pg_stat_force_next_flush()');
is(sql("SELECT hit, read, ratio FROM cozi.cache_hit WHERE relation = 'pages'::regclass"),
	"$pages|$pages|0.5", 'half of the pages were in the cache after a second reading');
sql('SELECT count(*) FROM pages; SELECT count(*) FROM pages; SELECT pg_stat_force_next_flush()');
is(sql("SELECT ratio FROM cozi.cache_hit WHERE relation = 'pages'::regclass"),
	'0.75', 'three quarters of the pages were in the cache after a fourth reading');

# Windows

sub window
{
	return sql(
		qq{SELECT d.calls, d.restarted FROM cozi.statement_deltas('$_[0]') d
			WHERE cozi.query_text(d.dbid, d.userid, d.queryid) = 'SELECT count(*) FROM pages'}
	);
}

sub snapshot
{
	sql('SELECT cozi.snapshot()');
	return sql('SELECT max(taken_at) FROM cozi.snapshots');
}
sub run { sql('SELECT count(*) FROM pages') for 1 .. $_[0]; return }

sql('SELECT pg_stat_statements_reset()');
run(3);
my $first = snapshot();
run(2);
is(window($first), '2|f', '5 calls less 3 are 2');
sql('ALTER EXTENSION pg_stat_statements UPDATE');
run(1);
is(window($first), '3|f', 'pg_stat_statements was updated between: still right');
my $second = snapshot();
run(4);
is( sql(qq{SELECT d.calls FROM cozi.statement_deltas('$first', '$second') d
    WHERE cozi.query_text(d.dbid, d.userid, d.queryid) = 'SELECT count(*) FROM pages'}
	),
	'3',
	'between two snapshots');
is(window($second), '4|f', 'since the second');
is( sql(qq{SELECT bool_and(calls > 0 AND total_ms >= 0 AND mean_ms >= 0 AND rows >= 0
    AND shared_blks_hit >= 0 AND shared_blks_read >= 0) FROM cozi.statement_deltas('$first')}
	),
	't',
	'nothing is negative');

# this one statement is forgotten and seen again: what it did since is all there is
sql(q{SELECT pg_stat_statements_reset(0, 0, queryid) FROM pg_stat_statements
    WHERE query = 'SELECT count(*) FROM pages'}
);
run(1);
is(window($second), '1|t', 'one statement reset: counted from its restart');

# eviction: 150 other statements in a table of 100
my $many = join ';', map {
	'SELECT ' . join ', ', map { "$_ AS c" } (1) x $_
} 1 .. 150;
sql("$many; $many; $many");
isnt(sql('SELECT dealloc FROM pg_stat_statements_info'), '0', 'statements were evicted');
is(sql("SELECT state FROM cozi.monitor_status WHERE capability = 'pg_stat_statements.max'"),
	'warn', 'monitor_status says so');
run(2);
like(window($second), qr/^[12]\|[tf]$/,
	'evicted and seen again: never negative, never more than happened');
is( sql(qq{SELECT count(*) FILTER (WHERE calls <= 0 OR total_ms < 0 OR rows < 0
    OR shared_blks_hit < 0) FROM cozi.statement_deltas('$second')}
	),
	'0',
	'nothing is negative');

# a reset of all of it: another epoch, and nothing is compared across
sql('SELECT pg_stat_statements_reset()');
run(5);
is(window($second), '', 'all reset: no window across');
is( sql("SELECT source FROM cozi.health WHERE metric = 'query_time'"),
	'pg_stat_statements since its reset',
	'health says since when');
my $third = snapshot();
run(2);
is(window($third), '2|f', 'a new snapshot, a new window');

# Health

# Few long statements and many short ones, weighted by calls: below the mean of the two means.
sql('SELECT pg_stat_statements_reset()');
sql('SELECT pg_sleep(0.06)') for 1 .. 5;
sql('SELECT 1')              for 1 .. 20;
my ($value, $mean, $unweighted) = split /\|/,
  sql(
	q{SELECT (SELECT value FROM cozi.health WHERE metric = 'query_time'), s.* FROM (
	SELECT sum(total_exec_time) / sum(calls),
	avg(mean_exec_time) FILTER (WHERE query IN ('SELECT pg_sleep($1)', 'SELECT $1'))
	FROM pg_stat_statements WHERE toplevel) s}
  );
# by hand BEGIN and what reads the view are counted, which cozi leaves out
cmp_ok(abs($value / $mean - 1), '<', 0.25, "query_time is $value ms, by hand $mean ms");
cmp_ok($value, '<', $unweighted, "query_time is weighted by calls: not $unweighted ms");
# a target of twice what is measured by hand is kept, at whatever speed of the machine
sql("SET pg_stat_statements.track = none;
	UPDATE cozi.targets SET warn = NULL,
		target = (SELECT 2 * sum(total_exec_time) / sum(calls)
			FROM pg_stat_statements WHERE toplevel)
	WHERE metric = 'query_time'");
is(sql("SELECT state FROM cozi.health WHERE metric = 'query_time'"),
	'ok', 'a query_time of half its target is ok');
sql("UPDATE cozi.targets SET target = 1 WHERE metric = 'query_time'");
is(sql("SELECT state FROM cozi.health WHERE metric = 'query_time'"),
	'breach', '... and a breach of a lower target');

# a statement that takes ten times as long as its slowest execution did, and one that
# sleeps too long for a busy machine to double it
sql('DELETE FROM cozi.snapshots; SELECT pg_stat_statements_reset();
CREATE FUNCTION pace() RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(0.001) $$'
);
snapshot();
sql(join ';', ('SELECT pace()') x 25, ('SELECT pg_sleep(0.1)') x 25);
snapshot();
is(sql('SELECT count(*) FROM cozi.regressions'), '0', 'nothing got slower yet');
my $slow = sql("SELECT ceil(10 * max_exec_time) FROM pg_stat_statements
    WHERE query = 'SELECT pace()' AND toplevel");
sql("CREATE OR REPLACE FUNCTION pace() RETURNS void
    LANGUAGE sql AS 'SELECT pg_sleep($slow / 1000.0)'");
sql(join ';', ('SELECT pace()') x 25, ('SELECT pg_sleep(0.1)') x 25);
is( sql("SELECT calls_before, calls, ratio > 9, mean_ms >= $slow, p95_before_ms < mean_ms,
    p50_ms BETWEEN 0.875 * $slow AND p95_ms, p95_ms <= p99_ms, query FROM cozi.regressions"
	),
	'25|25|t|t|t|t|t|SELECT pace()',
	'regressions names the one that did, with the percentiles of both sides');
is( $node->safe_psql(
		'postgres',
		'SELECT count(*) FROM cozi.regressions',
		extra_params => [ '-U', 'watcher' ]),
	'1',
	'... to a member of pg_monitor');

# A dump keeps the targets

sql("UPDATE cozi.targets SET target = 42, warn = NULL, period = '1 day' WHERE metric = 'cpu';
INSERT INTO cozi.targets (metric, op, target, unit) VALUES ('own', '<', 1, 'x')"
);
my $dump = "$root/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'restored');
my $targets = 'SELECT * FROM cozi.targets ORDER BY metric';
is($node->safe_psql('restored', $targets), sql($targets), 'the targets are the same');
is($node->safe_psql('restored', 'SELECT count(*) FROM cozi.snapshots'),
	'0', 'samples are not dumped');

# Sizes: what is locked, rewritten, temporary or elsewhere is measured without waiting

mkdir(my $elsewhere = $node->basedir . '/elsewhere') or die $!;
sql("CREATE TABLESPACE elsewhere LOCATION '$elsewhere'");
sql('CREATE TABLE locked AS SELECT 1 AS a; ANALYZE locked;
	CREATE TABLE rewritten AS SELECT g AS a FROM generate_series(1, 5000) g;
	CREATE TABLE moved (a int PRIMARY KEY, b text) TABLESPACE elsewhere;
	INSERT INTO moved SELECT g FROM generate_series(1, 5000) g; VACUUM moved');
my $whole = sql("SELECT pg_total_relation_size('rewritten')");
my ($stdin, $stdout) = (
	"CREATE TEMP TABLE mine AS SELECT g AS a FROM generate_series(1, 5000) g;
	BEGIN; LOCK TABLE locked; TRUNCATE rewritten;\n\\echo locked\n", '');
my $locker = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$stdin, '>', \$stdout);
$locker->pump until $stdout =~ /locked/;

sub size_of
{
	return sql(
		"SET statement_timeout = '20s'; SELECT total_bytes, exact FROM cozi.table_sizes
			WHERE relation::text ~ '$_[0]\$'");
}
is(size_of('locked'), '8192|t', 'a table that is locked ACCESS EXCLUSIVE is measured');
is(size_of('rewritten'), "$whole|t", 'a table that is being truncated has the size it had');
is( size_of('mine'),
	sql("SELECT pg_total_relation_size(oid) FROM pg_class WHERE relname = 'mine'") . '|t',
	'the temporary table of another session is measured');
is(size_of('moved'), sql("SELECT pg_total_relation_size('moved')") . '|t',
	'a table in another tablespace is measured');
is( sql("SET statement_timeout = '20s'; SELECT count(*) FROM cozi.vacuum_health
    WHERE relation = 'locked'::regclass"
	),
	'1',
	'vacuum_health does not wait');
$stdin .= "\\q\n";
$locker->finish;

$node->stop;
done_testing();
