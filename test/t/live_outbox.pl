# An outbox under kill -9 of its consumers and of the server, with writers at work:
# nothing is lost, and the events of a key come in their order.  Then where its events
# and consumers go: a dump, a restore of the rows alone, a standby, a subscriber.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $keys = 5;
my $kills = $ENV{COZI_LONG} ? 10 : 1;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = House::server('outbox');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf',
	"max_prepared_transactions = 4\nfsync = off\nmax_connections = 40\n");
$node->start;
my $columns = 'aggregatetype, aggregateid, type, payload';
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION cozi;
	CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
	CREATE TABLE before (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
	INSERT INTO thing SELECT generate_series(1, $keys);
	INSERT INTO before SELECT generate_series(1, 64);
	SELECT cozi.create_outbox('box', rotate => '1 min');
	-- a subscriber copies rows as they lie
	ALTER TABLE box_0 SET (autovacuum_enabled = false);
	ALTER TABLE box_1 SET (autovacuum_enabled = false);
	ALTER TABLE box_2 SET (autovacuum_enabled = false);
	ALTER TABLE box_3 SET (autovacuum_enabled = false);
	SELECT cozi.add_outbox_consumer('box', 'mail', 'postgres')});

# A writer has an id for a while before it locks the thing, and aborts now and then: so
# that neither ids nor commits are in the order of the events.
my $write = "$tmp/write.sql";
append_to_file(
	$write, qq{
\\set thing random(1, $keys)
\\set pause random(0, 20000)
\\set end random(1, 10)
BEGIN;
UPDATE before SET n = n + 1 WHERE id = :client_id + 1;
\\sleep :pause us
WITH t AS (UPDATE thing SET n = n + 1 WHERE id = :thing RETURNING id, n)
INSERT INTO box ($columns) SELECT 'thing', id::text, 'step', to_jsonb(n) FROM t;
\\if :end = 1
ROLLBACK;
\\else
COMMIT;
\\endif
});

sub start_writers
{
	my $log = "$tmp/writers.log";
	return IPC::Run::start(
		[
			'pgbench', '-n', '-c', '4', '-T', '60', '-f', $write, '-h', $node->host,
			'-p', $node->port, 'postgres'
		],
		'<', '/dev/null', '>', $log, '2>', $log);
}

# What consumers have delivered: appended to before it is said to be done.
my (%seen, $out_of_order, $taken, $repeated);
($out_of_order, $taken, $repeated) = (0, 0, 0);

sub deliver
{
	my ($rows) = @_;
	my $lease;
	foreach (split /\n/, $rows)
	{
		my ($id, $n);
		($id, $n, $lease) = split /\|/;
		# a step that comes again is a repetition; one that comes too early a loss
		$out_of_order++ if $n > ($seen{$id} // 0) + 1;
		$repeated++ if $n <= ($seen{$id} // 0);
		$seen{$id} = $n if $n > ($seen{$id} // 0);
		$taken++;
	}
	return $lease;
}

my $take = q{SELECT aggregateid, payload, lease FROM cozi.outbox_take('box', 'mail', 50, '100 ms')};

# One round of a worker, which may die between the delivery and saying so.
sub work
{
	my ($worker, $dies) = @_;
	my $rows = $worker->query_safe($take);
	return 0 if $rows eq '';
	my $lease = deliver($rows);
	$worker->query_safe("SELECT cozi.outbox_done('box', 'mail', $lease)") unless $dies;
	return 1;
}

# A worker that is killed while its transaction holds what it has taken
sub kill_worker
{
	my ($in, $out, $err) = ("BEGIN; $take;\nSELECT 'taken';\n", '', '');
	my $worker = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	$worker->pump until $out =~ /taken/;
	$worker->kill_kill(grace => 0);
}

my $holds = q{SELECT count(*) FROM pg_locks WHERE relation = 'cozi.outbox_consumer'::regclass};
foreach my $kill (1 .. $kills)
{
	my $writers = start_writers();
	my $worker = House::session($node, 'postgres');
	my $rounds = 0;
	while ($rounds < 8)
	{
		$rounds++ if work($worker, $rounds % 3 == 2);
		usleep(20_000);
	}
	kill_worker();
	$node->poll_query_until('postgres', "SELECT ($holds) = 0");
	for (1 .. 3)
	{
		work($worker, 0);
		usleep(50_000);
	}
	$node->poll_query_until('postgres', 'SELECT sum(n) > 60 FROM thing');
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	kill 9, $pid;
	$writers->finish;
	eval { $worker->quit };
	$node->{_pid} = undef;
	# the next server waits for the backends of the one that was killed
	my $up = 0;
	for (1 .. 600)
	{
		unlink $node->data_dir . '/postmaster.pid';
		last if $up = $node->start(fail_ok => 1);
		usleep(100_000);
	}
	ok($up, "kill $kill: the server starts again");
}
my $waits = 'SELECT sum(waiting) = 0 FROM cozi.outboxes';
$node->poll_query_until('postgres', $waits);
my $free = q{SELECT bool_and(coalesce(leased_until < clock_timestamp(), true)) FROM cozi.outboxes};
my $worker = House::session($node, 'postgres');
do { $node->poll_query_until('postgres', $free) } while work($worker, 0);
$worker->quit;

my $written = $node->safe_psql('postgres', 'SELECT id, n FROM thing ORDER BY id');
is(join("\n", map { "$_|$seen{$_}" } sort keys %seen),
	$written, 'every event of every thing is delivered, kills of workers and of the server later');
is($out_of_order, 0, 'no event comes before one of the same thing that was written before it');
cmp_ok($taken, '>', 50, "the writers were at work: $taken events were taken");
cmp_ok($repeated, '>', 0, "the workers died: $repeated events came again");
is($node->safe_psql('postgres', 'SELECT count(*) = sum(payload::int / payload::int) FROM box'),
	't', 'there is one row for each event');
$node->safe_psql('postgres', q{SELECT cozi.outbox_trim('box')});

# A prepared transaction holds what is written after it, and is named.
my $insert = "INSERT INTO box ($columns) VALUES ('thing', '9', 'made', '%s')";
my $held_by = q{SELECT waiting, held_by FROM cozi.outboxes};
$node->safe_psql('postgres',
	'BEGIN; ' . sprintf($insert, '"prepared"') . "; PREPARE TRANSACTION 'left''over'");
$node->safe_psql('postgres', sprintf($insert, '"later"'));
is($node->safe_psql('postgres', $held_by),
	"1|prepared transaction 'left''over'", 'a prepared transaction that is waited for is named');
is($node->safe_psql('postgres', $take), '', 'nothing is delivered past a prepared transaction');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $held_by),
	"1|prepared transaction 'left''over'", 'a crash changes nothing about it');
$node->safe_psql('postgres', "COMMIT PREPARED 'left''over'");
$node->poll_query_until('postgres', $waits);
my $payloads = q{SELECT string_agg(payload #>> '{}', ' ' ORDER BY seq), max(lease)
	FROM cozi.outbox_take('box', '%s', 100000, '100 ms')};
my ($in_order, $lease) = split /\|/, $node->safe_psql('postgres', sprintf $payloads, 'mail');
is($in_order, 'prepared later', 'what was prepared comes first, as it was written first');
$node->safe_psql('postgres', "SELECT cozi.outbox_done('box', 'mail', $lease)");

# A dump, restored where transaction ids begin anew.
$node->safe_psql('postgres', sprintf $insert, '"one"');
$node->safe_psql('postgres', sprintf $insert, '"two"');
my $other = House::server('other');
$other->init(allows_streaming => 'logical');
$other->append_conf('postgresql.conf', "fsync = off\n");
$other->start;
my $state = q{SELECT consumer, role, done FROM cozi.outboxes};
my $before = $node->safe_psql('postgres', $state);
my $xid = 'SELECT pg_snapshot_xmax(pg_current_snapshot())';
$node->safe_psql('postgres', 'SELECT pg_current_xact_id()') foreach 1 .. 3;
cmp_ok($other->safe_psql('postgres', $xid), '<', $node->safe_psql('postgres', $xid),
	'the other server is behind in transaction ids');

sub restore
{
	my ($database, $setting, @options) = @_;
	my $dump = "$tmp/dump.sql";
	$node->command_ok([ 'pg_dump', @options, '-f', $dump, '-d', $node->connstr('postgres') ],
		"$database: a dump is taken");
	local $ENV{PGOPTIONS} = $setting;
	$other->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d',
		$other->connstr($database) ], "$database: the dump is restored");
}

# what is delivered there, one after the other, with an event that is written there
sub delivered
{
	my ($server, $database, $consumer) = @_;
	$server->safe_psql($database, sprintf $insert, '"new"');
	$server->poll_query_until($database, $waits);
	$server->poll_query_until($database, $free);
	my ($events, $number) = split /\|/,
	  $server->safe_psql($database, sprintf $payloads, $consumer);
	$server->safe_psql($database, "SELECT cozi.outbox_done('box', '$consumer', $number)");
	return $events;
}

$other->safe_psql('postgres', 'CREATE DATABASE whole');
restore('whole', '');
is($other->safe_psql('whole', $state), $before, 'whole: consumers are as far as they were');
is(delivered($other, 'whole', 'mail'),
	'one two new', 'whole: what was not done is delivered, and then what is new');
$other->safe_psql('postgres', 'CREATE DATABASE parts');
restore('parts', '', '--schema-only');
# tables that the extension fills are there already
restore('parts', '-c session_replication_role=replica',
	'--data-only', '--exclude-table-data=cozi.targets');
is($other->safe_psql('parts', $state), $before, 'parts: consumers are as far as they were');
is(delivered($other, 'parts', 'mail'),
	'one two new', 'parts: rows that are restored into an outbox keep their places');

# A subscriber of everything: what the publisher does to its own consumers is not taken over.
$other->safe_psql('postgres', 'CREATE DATABASE subscriber');
restore('subscriber', '', '--schema-only');
$other->safe_psql('subscriber', q{SELECT cozi.add_outbox_consumer('box', 'mail', 'postgres')});
$node->safe_psql('postgres', q{CREATE PUBLICATION everything FOR TABLE box, cozi.outbox_consumer,
	cozi.outbox_aside, cozi.outbox_local WITH (publish = 'insert, update, delete')});
$other->safe_psql('subscriber', "CREATE SUBSCRIPTION s CONNECTION '" . $node->connstr
	  . " dbname=postgres' PUBLICATION everything");
$other->poll_query_until('subscriber',
	q{SELECT count(*) > 3 AND bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel});
$node->safe_psql('postgres', sprintf $insert, '"three"');
is(delivered($node, 'postgres', 'mail'), 'one two three new', 'the publisher delivers its events');
$node->safe_psql('postgres', q{DELETE FROM box});
$node->wait_for_catchup('s');
is( $other->safe_psql('subscriber', 'SELECT done FROM cozi.outboxes'),
	'0', 'a subscriber does not take over how far the consumers of the publisher are');
my $applied = delivered($other, 'subscriber', 'mail');
# the first copy takes partition after partition, in an order of the server's
like($applied, qr/\bone two .*\bthree new new$|one two three new new$/,
	'a subscriber delivers, in order, what was applied and deleted by the publisher');
$other->safe_psql('subscriber', 'DROP SUBSCRIPTION s');
$other->stop;

# A standby: nothing is taken there until it is promoted.
SKIP:
{
	skip 'a standby is made with --long only', 3 unless $ENV{COZI_LONG};
	$node->backup('base');
	my $standby = House::server('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$node->safe_psql('postgres', sprintf $insert, '"last"');
	$node->wait_for_catchup($standby);
	my ($status, undef, $error) = $standby->psql('postgres', $take);
	like($error, qr/cannot execute outbox_take\(\)/, 'nothing is taken on a standby');
	is($standby->safe_psql('postgres', 'SELECT events, waiting FROM cozi.outboxes'),
		'1|0', 'the view can be read on a standby');
	$node->stop('immediate');
	$standby->promote;
	is(delivered($standby, 'postgres', 'mail'),
		'last new', 'a standby that was promoted delivers the rest');
	$standby->stop;
}
done_testing();
