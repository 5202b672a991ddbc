# Folding without anybody's help: a worker that cannot start leaves folding to the
# voters, one that runs reports its statistics, and a voter's commit runs no code of
# an owner's.  What a client chooses the length of, an array of scopes, is counted and
# folded in linear time, and a cancel or a timeout ends that.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('worker');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\n");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE TABLE votes (post int, voter int, created_at timestamptz DEFAULT clock_timestamp());
	SELECT cozi.create_board('hot', 'votes', 'post');
	CREATE SEQUENCE calls;
	CREATE FUNCTION counted(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM nextval('public.calls'); RETURN $1; END $$;
	CREATE INDEX counted ON hot (counted(ups));});

# Cast votes for an item until a commit has merged what is pending, which it does
# only some time after the last fold.  Returns how many were cast, 0 if none was merged.
sub votes_until_merged
{
	my ($item, $begin) = @_;
	foreach my $n (1 .. 600)
	{
		$node->safe_psql('postgres', "BEGIN $begin; INSERT INTO votes VALUES ($item, $n); COMMIT");
		return $n if $n > $node->safe_psql('postgres', 'SELECT pending FROM cozi.boards');
	}
	return 0;
}

# Nothing preloaded: voters fold, but not where an owner's function would run.
cmp_ok(votes_until_merged(1, ''),
	'>', 0, 'the pending votes that no commit folds are merged');
is($node->safe_psql('postgres', q{SELECT is_called FROM calls}),
	'f', 'the commit of a vote calls no function of an index');
$node->safe_psql('postgres', 'SELECT cozi.fold()');
is($node->safe_psql('postgres', q{SELECT is_called FROM calls}),
	't', 'fold() calls the function of an index');
$node->safe_psql('postgres', 'DROP INDEX counted');

# Nor where a domain may get a CHECK in the next moment: that locks no table.
is( $node->safe_psql(
		'postgres', q{CREATE DOMAIN id AS int;
		CREATE TABLE typed (post id, created_at timestamptz DEFAULT '2026-06-01');
		SELECT cozi.create_board('hot_typed', 'typed', 'post');
		INSERT INTO typed VALUES (1);
		SELECT count(*) FROM hot_typed; SELECT cozi.fold('hot_typed');
		SELECT count(*) FROM hot_typed; DROP TABLE typed}),
	"hot_typed\n0\n1\n1",
	'the commit of a vote folds no board whose items are of a domain');

# Above READ COMMITTED votes are merged, too.
my $cast = votes_until_merged(2, 'ISOLATION LEVEL SERIALIZABLE');
cmp_ok($cast, '>', 0, 'the pending votes of serializable voters are merged');
is($node->safe_psql('postgres', q{SELECT ups FROM hot_live WHERE item = 2}),
	$cast, 'merged votes count as before');

# A fold lock that a savepoint has given back is in the way of no PREPARE.
my ($rc, $out, $err) = $node->psql(
	'postgres', q{BEGIN; SAVEPOINT s; SELECT cozi.fold('hot'); ROLLBACK TO s;
	INSERT INTO votes VALUES (3, 1); PREPARE TRANSACTION 'after'});
is($rc, 0, 'a transaction whose fold was rolled back to a savepoint is prepared');
$node->safe_psql('postgres', q{COMMIT PREPARED 'after'});
($rc, $out, $err) = $node->psql(
	'postgres', q{BEGIN; SAVEPOINT s; SELECT cozi.fold('hot'); RELEASE s;
	PREPARE TRANSACTION 'after'});
like($err, qr/cannot PREPARE/, 'a transaction whose fold was released is not prepared');

# An array of scopes as long as a client likes.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE tagged (post int, tags int[], created_at timestamptz DEFAULT '2026-06-01');
	CREATE TABLE products (post int[], tags int[], created_at timestamptz DEFAULT '2026-06-01');
	SELECT cozi.create_board('by_tag', 'tagged', 'post', scope => 'tags'),
		cozi.create_board('by_product', 'products', 'post', scope => 'tags');
	CREATE TABLE tags AS SELECT n, (SELECT array_agg(g) FROM generate_series(1, n) g) AS tags
		FROM unnest('{20000,40000}'::int[]) n});
my $client = House::session($node, 'postgres', on_error_stop => 0);
my $pid = $client->query('SELECT pg_backend_pid()');

sub cpu { return (split ' ', slurp_file("/proc/$pid/schedstat"))[0]; }

# Until the timeout of the session has not ended it as well.
sub insist
{
	my ($statement) = @_;
	do
	{
		$client->{stderr} = '';
		$client->query($statement);
	} while $client->{stderr} =~ /statement timeout/;
	return;
}

# Nanoseconds of CPU that a statement of the client takes, and what is said of it.
sub cpu_of
{
	my ($statement) = @_;
	insist('BEGIN');
	my $before = cpu();
	$client->query($statement);
	my ($spent, $said) = (cpu() - $before, $client->{stderr});
	insist('ROLLBACK');
	return ($spent, $said);
}

sub vote
{
	my ($post, $n) = @_;
	return "INSERT INTO tagged SELECT $post, tags FROM tags WHERE n = $n";
}

SKIP:
{
	skip 'no /proc/PID/schedstat here', 5 unless -r "/proc/$pid/schedstat";
	cpu_of(vote(1, 20000));
	my ($short) = cpu_of(vote(1, 20000));
	my ($long) = cpu_of(vote(1, 40000));
	cmp_ok($long, '<', 3 * $short,
		'an array of scopes that is twice as long takes less than three times the CPU');
	$client->query('SET statement_timeout = ' . (1 + int($long / 8_000_000)));
	my ($spent, $said) = cpu_of(vote(1, 40000));
	like($said, qr/canceling statement due to statement timeout/,
		'a timeout ends a statement that counts a long array');
	cmp_ok($spent, '<', $long / 2, 'a timeout ends the counting of an array early');
	($spent, $said) = cpu_of('INSERT INTO products SELECT ARRAY(SELECT unnest(tags)), tags'
		  . ' FROM tags WHERE n = 40000');
	like($said, qr/canceling statement due to statement timeout/,
		'a timeout ends a statement that counts as many keys as two arrays have together');
	cmp_ok($spent, '<', $long, 'a timeout ends the counting of two arrays early');
}
insist('RESET statement_timeout');

# Cancel whatever is active there, and was called for by that query, until it ends.
sub cancel_while
{
	my ($session, $who, $query, $rounds) = @_;
	$session->query_safe(qq{
		DO \$\$ BEGIN
			FOR i IN 1 .. $rounds LOOP
				PERFORM pg_stat_clear_snapshot();
				EXIT WHEN EXISTS (SELECT FROM pg_stat_activity
					WHERE $who AND state = 'idle' AND query = 'COMMIT;');
				PERFORM pg_cancel_backend(pid) FROM pg_stat_activity
				WHERE $who AND state = 'active' AND query = '$query';
				PERFORM pg_sleep(0.005);
			END LOOP;
		END \$\$});
	return;
}
my $other = House::session($node, 'postgres');
my $pending = q{SELECT pending FROM cozi.boards WHERE board = 'by_tag'::regclass};
SKIP:
{
	skip 'a failing subtransaction of COMMIT fails an assertion of PostgreSQL itself', 3
	  if $other->query_safe('SHOW debug_assertions') eq 'on';
	my ($votes, $left) = (0, 0);
	while ($votes < 5 && $left == 0)
	{
		$client->query('BEGIN; ' . vote(++$votes, 20000));
		$client->query_until(qr/begun/, "\\echo begun\nCOMMIT;\n");
		cancel_while($other, "pid = $pid", 'COMMIT;', 10_000);
		$left = $other->query_safe($pending);
	}
	cmp_ok($left, '>', 0, 'a cancel ends the fold at the commit of a vote');
	is($client->query('SELECT count(*) FROM tagged'),
		$votes, 'a vote whose fold was canceled is committed');
	$other->query_safe('SELECT cozi.fold()');
	is( $other->query_safe('SELECT count(*), sum(ups) FROM by_tag'),
		join('|', (20000 * $votes) x 2),
		'votes whose fold was canceled are folded by the next one');
}
$_->quit foreach $client, $other;

# Preloaded: a worker.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cozi'\n");
$node->restart;
my $voter = House::session($node, 'postgres');
my $postmaster = slurp_file($node->data_dir . '/postmaster.pid');
$postmaster =~ s/\n[\s\S]*//;

# What ends a worker before it begins: the server may start no process for a moment.
SKIP:
{
	skip 'no prlimit here', 2
	  if system("prlimit --pid $postmaster --nproc=1: >/dev/null 2>&1") != 0;
	$voter->query_safe('INSERT INTO votes VALUES (4, 1)');
	my $told = 0;
	foreach (1 .. 100)
	{
		last if $told = slurp_file($node->logfile) =~ /could not fork/;
		$voter->query_safe('SELECT pg_sleep(0.1)');
	}
	my ($hard) = `prlimit --pid $postmaster --nproc --output HARD --noheadings` =~ /(\w+)/;
	system("prlimit --pid $postmaster --nproc=$hard:");
	ok($told, 'the server could not start a worker');
	my $folded = 0;
	foreach (1 .. 600)
	{
		$voter->query_safe('INSERT INTO votes VALUES (4, 2)');
		last if $folded = $voter->query_safe('SELECT count(*) FROM hot WHERE item = 4');
		$voter->query_safe('SELECT pg_sleep(0.1)');
	}
	ok($folded, 'votes are folded after a worker that could not start');
}

# A worker that folds reports what it does to the statistics, while it runs.
my $reported = 0;
foreach (1 .. 600)
{
	$voter->query_safe('INSERT INTO votes VALUES (5, 1)');
	last
	  if $reported = $voter->query_safe(
		q{SELECT count(*) FROM pg_stat_user_tables, pg_stat_activity
		WHERE relname = 'hot' AND n_tup_upd > 2 AND backend_type = 'cozi fold worker'});
	$voter->query_safe('SELECT pg_sleep(0.1)');
}
ok($reported, 'a worker that runs reports its writes, so that autovacuum sees them');
# A cancel ends the fold of a worker, too, which tries again later.
my $canceller = House::session($node, 'postgres');
my $worker = q{backend_type = 'cozi fold worker'};
$voter->query_safe(vote(10, 20000));
cancel_while($canceller, $worker, 'cozi: folding', 150);
cmp_ok($canceller->query_safe($pending), '>', 0, 'a cancel ends the fold of the worker');
my $done = 0;
foreach (1 .. 600)
{
	$voter->query_safe('INSERT INTO votes VALUES (5, 1)');
	last if $done = $voter->query_safe('SELECT count(*) FROM by_tag WHERE item = 10') == 20000;
	$voter->query_safe('SELECT pg_sleep(0.1)');
}
ok($done, 'votes are folded after a worker whose fold was canceled');
$canceller->quit;
$voter->quit;

# A prepared transaction is committed by a session that has nothing to fold.
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cozi fold worker'");
$node->safe_psql('postgres',
	q{BEGIN; INSERT INTO votes VALUES (77, 1); PREPARE TRANSACTION 'late'});
$node->safe_psql('postgres', q{COMMIT PREPARED 'late'});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM hot WHERE item = 77'),
	'the votes of a prepared transaction are folded with no further vote');

$node->safe_psql('postgres', 'SELECT cozi.fold()');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}),
	0, 'the board equals a recount');
$node->stop;
done_testing();
