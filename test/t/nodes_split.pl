# A table of 4 shards becomes one of 8 on two servers, by split_plan(), while
# pgbench inserts, updates and deletes.  Each write is recorded in a ledger in
# the transaction that makes it, and in the end the rows of both servers are
# those of the ledger.
use strict;
use warnings;
use IPC::Run;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Plan;

my %node;
foreach my $name (qw(here south))
{
	$node{$name} = House::server($name);
	$node{$name}->init(allows_streaming => 'logical');
	$node{$name}
	  ->append_conf('postgresql.conf', "fsync = off\nwal_retrieve_retry_interval = 100ms\n"
		  . "deadlock_timeout = 10min\n");    # however late a swap gives up
	$node{$name}->start;
	$node{$name}->safe_psql('postgres', 'CREATE EXTENSION cozi');
}
my $here = $node{here};
plan skip_all => 'no postgres_fdw in this server'
  unless $here->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'");

my ($host, $port) = ($node{south}->host, $node{south}->port);
$here->safe_psql('postgres', <<"SQL");
CREATE EXTENSION postgres_fdw;
CREATE SERVER south FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host '$host', port '$port', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER south;
CREATE TABLE posts (id int NOT NULL, author_id bigint NOT NULL, v int, body text DEFAULT 'it''s',
    PRIMARY KEY (id, author_id)) PARTITION BY HASH (author_id);
CREATE INDEX ON posts (author_id, v);
SELECT cozi.create_shards('posts', 4);
CREATE TABLE ledger (n bigint GENERATED ALWAYS AS IDENTITY, op text, id int, author_id bigint,
    v int);
WITH w AS (INSERT INTO posts SELECT i, a, 0 FROM generate_series(1, 20) i, generate_series(1, 500) a
    RETURNING id, author_id, v) INSERT INTO ledger (op, id, author_id, v) SELECT 'I', * FROM w;
SQL

# What a plan refuses, and what it is told.
my $connection = $here->connstr('postgres') =~ s/'/''/gr;
my (undef, undef, $err) =
  $here->psql('postgres', "SELECT cozi.split_plan('posts_shard_1', 'nowhere', '')");
like($err, qr/server "nowhere" does not exist/, 'split_plan refuses a server that is not there');
(undef, undef, $err) = $here->psql('postgres', "SELECT cozi.split_plan('ledger', 'south', '')");
like($err, qr/"public.ledger" is not a shard here/, 'split_plan refuses what is no shard');

# Writers of every kind, 4 clients of them.
my $script = $PostgreSQL::Test::Utils::tmp_check . '/writes.sql';
append_to_file($script, <<'SQL');
\set a random(1, 500)
\set i random(1, 25)
\set v random(1, 1000000)
\set op random(1, 3)
\if :op = 1
WITH w AS (INSERT INTO posts VALUES (:i, :a, :v) ON CONFLICT DO NOTHING RETURNING id, author_id, v)
INSERT INTO ledger (op, id, author_id, v) SELECT 'I', * FROM w;
\elif :op = 2
WITH w AS (UPDATE posts SET v = :v WHERE id = :i AND author_id = :a RETURNING id, author_id, v)
INSERT INTO ledger (op, id, author_id, v) SELECT 'U', * FROM w;
\else
WITH w AS (DELETE FROM posts WHERE id = :i AND author_id = :a RETURNING id, author_id, v)
INSERT INTO ledger (op, id, author_id, v) SELECT 'D', * FROM w;
\endif
SQL
my ($out, $complaint) = ('', '');
my $pgbench = IPC::Run::start(
	[
		'pgbench', '-n', '-c', 4, '-T', 600, '-R', 200, '--max-tries', 100, '-f', $script,
		$here->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$complaint);
$here->poll_query_until('postgres', 'SELECT count(*) > 10100 FROM ledger');

# One who writes a partition by its own name, and opens the parent then, as everybody does
# who looks for its bounds, when somebody waits for the partition.
sub slow_writer
{
	my ($node, $partition, $parent) = @_;
	my $writer = House::session($node, 'postgres');
	$writer->query_until(qr/^begun/m, <<"SQL");
BEGIN;
LOCK TABLE $partition IN ROW EXCLUSIVE MODE;
\\echo begun
DO \$\$ BEGIN
    FOR i IN 1 .. 9000 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_locks
                          WHERE relation = '$partition'::regclass AND NOT granted);
        PERFORM pg_sleep(0.02);
    END LOOP;
    LOCK TABLE ONLY $parent IN ACCESS SHARE MODE;
END \$\$;
COMMIT;
SQL
	return $writer;
}

# A plan that meets them is right, or gives up and is run again; they have no error.
sub among_slow_writers
{
	my ($plan) = @_;
	$plan->run(phase => $_) or return 0 foreach qw(prepare copy compare);
	my $writer = slow_writer($here, 'posts_shard_0', 'posts');
	$plan->run(phase => 'swap') or return 0;
	like(
		$plan->{notices},
		qr/canceling statement due to lock timeout/,
		'a swap gives up where it would be a deadlock');
	is($writer->query('SELECT true'), 't', 'who writes the shard by its own name has no error');
	$writer = slow_writer($node{south}, 'posts_shard_4', 'posts_shard_0');
	$plan->run(phase => 'clean') or return 0;
	return is($writer->query('SELECT true'), 't', 'who writes the half that left has no error');
}

# The process that sends to the other server is slow to leave: it is stopped for two
# seconds, in which the subscription ends.
sub behind_a_slow_sender
{
	my ($plan) = @_;
	$plan->run(phase => $_) or return 0 foreach qw(prepare copy compare swap);
	my $sender = $plan->ask('SELECT active_pid FROM pg_replication_slots WHERE active');
	kill 'STOP', $sender or return 0;
	my $later = IPC::Run::start([ 'sh', '-c', "sleep 2; kill -CONT $sender" ]);
	my $ended = $plan->run(phase => 'clean');
	$later->finish;
	return $ended;
}

my %run = (0 => \&among_slow_writers, 1 => \&behind_a_slow_sender);
foreach my $shard (0 .. 3)
{
	my $plan =
	  Plan->new(\%node, "cozi.split_plan('posts_shard_$shard', 'south', '$connection')");
	is($plan->ask('SELECT count(*) FROM plan WHERE statement IS NULL'),
		0, "the plan to split shard $shard has every statement in full");
	my $run = $run{$shard} // sub { $plan->run };
	ok($run->($plan), "shard $shard is split while it is written");
	note($_) foreach $plan->{notices} =~ /NOTICE: +(.*(?:waited|locked|md5).*)/g;
}
$pgbench->signal('TERM');
$pgbench->finish;
unlike($complaint, qr/error|aborted/i, 'no client had an error');
House::let_end($_) foreach values %node;

# The account: the last word of the ledger on each row, against both servers.
my $expected = q{SELECT DISTINCT ON (id, author_id) id, author_id, v, op FROM ledger
	ORDER BY id, author_id, n DESC};
is( $here->safe_psql(
		'postgres', qq{WITH e AS (SELECT id, author_id, v FROM ($expected) x WHERE op <> 'D'),
		p AS (SELECT id, author_id, v FROM posts)
		SELECT (SELECT count(*) FROM (TABLE e EXCEPT ALL TABLE p) x),
			(SELECT count(*) FROM (TABLE p EXCEPT ALL TABLE e) x)}),
	'0|0',
	'the rows of both servers are those that the clients were told of');
note($here->safe_psql('postgres', 'SELECT op, count(*) FROM ledger GROUP BY op'));
is( $here->safe_psql(
		'postgres', q{SELECT string_agg(format('%s:%s:%s', c.relkind, c.relname,
			regexp_replace(pg_get_expr(c.relpartbound, c.oid), '\D+', ' ', 'g')), ','
			ORDER BY c.relname)
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'posts'::regclass}),
	join(',', map { ($_ < 4 ? 'r' : 'f') . ":posts_shard_$_: 8 $_ " } 0 .. 7),
	'four shards of eight are here, and four on the other server');
is($here->safe_psql('postgres', "SELECT count(*) FROM cozi.shard_check('posts')"),
	0, 'every row is in its shard');
(undef, undef, $err) = $node{south}->psql('postgres',
	'INSERT INTO posts_shard_5 SELECT 99, a FROM generate_series(1, 9) a');
like($err, qr/violates check constraint/, 'the other server refuses a row of another shard');
is( $here->safe_psql(
		'postgres', q{SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*)
		FROM pg_publication), (SELECT count(*) FROM pg_class
		WHERE relname ~ '_(new|old|log|digest)$' AND relnamespace = 'public'::regnamespace),
			(SELECT count(*) FROM pg_trigger
		WHERE tgname ~ '^split'), (SELECT count(*) FROM pg_constraint WHERE conname = 'split')}),
	'0|0|0|0|0',
	'nothing of the splits is left here');
is( $node{south}->safe_psql(
		'postgres', q{SELECT (SELECT count(*) FROM pg_subscription), (SELECT string_agg(relname, ','
		ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p', 'v')
		AND relnamespace = 'public'::regnamespace)}),
	'0|posts_shard_4,posts_shard_5,posts_shard_6,posts_shard_7',
	'the other server has the four shards and nothing else');
$_->stop foreach values %node;
done_testing();
