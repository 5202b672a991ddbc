# One bucket of users moves from a node to another, by move_plan(), while pgbench
# inserts, updates and deletes on the node that the map says.  Each write is
# recorded in a ledger on the node that took it, and in the end the rows of both
# nodes are those of the ledgers.
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
	  ->append_conf('postgresql.conf', "fsync = off\nwal_retrieve_retry_interval = 100ms");
	$node{$name}->start;
	$node{$name}->safe_psql(
		'postgres', q{CREATE EXTENSION cozi;
		CREATE TABLE users (id bigint PRIMARY KEY, name text);
		CREATE TABLE posts (id int, author_id bigint REFERENCES users, v int,
			PRIMARY KEY (author_id, id));
		CREATE TABLE votes (post_id int, author_id bigint, voter_id bigint, created_at timestamptz
			DEFAULT now(), PRIMARY KEY (author_id, post_id, voter_id));
		CREATE TABLE ledger (n bigint GENERATED ALWAYS AS IDENTITY, op text, id int,
			author_id bigint, v int);
		SELECT cozi.create_board('hot', 'votes', 'post_id')});
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
SELECT cozi.add_node('here'), cozi.add_node('south', 'south');
INSERT INTO users SELECT u, 'user ' || u FROM generate_series(1, 20000) u
WHERE cozi.shard_of(u, 1024) IN (5, 6);
INSERT INTO posts SELECT i, u.id, 0 FROM generate_series(1, 20) i, users u;
INSERT INTO ledger (op, id, author_id, v) SELECT 'I', id, author_id, v FROM posts;
INSERT INTO votes SELECT id, author_id, author_id FROM posts;
SQL
my $users = $here->safe_psql('postgres', 'SELECT count(*) FROM users');
my @of_5 = split /\n/, $here->safe_psql('postgres',
	'SELECT id FROM users WHERE cozi.shard_of(id, 1024) = 5 ORDER BY 1');
cmp_ok(scalar @of_5, '>', 5, 'the bucket has users');

# The map says for each write where it goes, as a client would ask it.  A writer
# whose map is old meets the fence, and asks again.
my $writes = <<'SQL';
\set i random(1, 25)
\set v random(1, 1000000)
\set op random(1, 3)
SELECT id AS a FROM users WHERE cozi.node_of(id) = 'here'
	OFFSET (random() * (SELECT count(*) - 1 FROM users WHERE cozi.node_of(id) = 'here'))::int
	LIMIT 1 \gset
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
my $script = $PostgreSQL::Test::Utils::tmp_check . '/writes.sql';
append_to_file($script, $writes);
my ($out, $complaint) = ('', '');
sub writers
{
	return IPC::Run::start(
		[
			'pgbench', '-n', '-c', 4, '-T', 600, '-R', 200, '-f', $script,
			$_[0]->connstr('postgres') ],
		'<', \undef, '>', \$out, '2>', \$complaint);
}
my $pgbench = writers($here);
$here->poll_query_until('postgres',
	"SELECT count(*) > (SELECT count(*) FROM votes) + 50 FROM ledger");

my $connection = $here->connstr('postgres') =~ s/'/''/gr;
my $call = "cozi.move_plan(5, 'south', '$connection', '{users,posts,votes}',
	'{id,author_id,author_id}')";
my $plan = Plan->new(\%node, $call);
is($plan->ask('SELECT count(*) FROM plan WHERE statement IS NULL'),
	0, 'the plan has every statement in full');
ok($plan->run(phase => $_), "the bucket is moved while it is written: $_")
  foreach qw(prepare copy compare swap clean);
note($_) foreach $plan->{notices} =~ /NOTICE: +(.*)/g;
$pgbench->signal('TERM');
$pgbench->finish;
like(
	$complaint =~ s/^.*(vacuum|starting).*\n//mgr . 'none',
	qr/^(?:pgbench:.*bucket\ 5\ has\ moved\ to\ node\ "south".*\n
		(?:HINT.*\n|CONTEXT.*\n|.*aborted.*\n|.*incomplete.*\n)*)*none/x,
	'the only error of a client is that the bucket has moved');
House::let_end($here);

is($here->safe_psql('postgres', "SELECT cozi.node_of($of_5[0])"),
	'south', 'the map says that the bucket is on the other node');
foreach my $write ("INSERT INTO posts VALUES (99, $of_5[0], 1)",
	"UPDATE posts SET v = 1 WHERE author_id = $of_5[0]",
	"DELETE FROM posts WHERE author_id = $of_5[0]")
{
	my (undef, undef, $err) = $here->psql('postgres', $write);
	like($err, qr/bucket 5 has moved to node "south"/,
		'the old node refuses ' . ($write =~ /^(\w+)/ ? $1 : '') . ' of a row of the bucket');
}

# The ledger of this node, and what the other node holds.
my $last = q{SELECT DISTINCT ON (id, author_id) id, author_id, v, op FROM ledger
	ORDER BY id, author_id, n DESC};
my $word = qq{SELECT count(*), md5(string_agg(format('%s %s %s', id, author_id, v), ','
	ORDER BY id, author_id)) FROM };
my $expected = $here->safe_psql('postgres',
	"$word ($last) x WHERE op <> 'D' AND cozi.shard_of(author_id, 1024) = 5");
is($node{south}->safe_psql('postgres', "$word posts"),
	$expected, 'the rows of the bucket are those that the clients were told of');
is( $here->safe_psql('postgres', "$word posts WHERE cozi.shard_of(author_id, 1024) = 6"),
	$here->safe_psql(
		'postgres', "$word ($last) x WHERE op <> 'D' AND cozi.shard_of(author_id, 1024) = 6"),
	'the rows of the other bucket are too');
is($node{south}->safe_psql('postgres', "SELECT count(*) FROM cozi.verify_board('hot')"),
	0, 'the board of the other node counts what has come');
ok($plan->run(phase => 'later'), 'the rows are deleted where they were');
is($here->safe_psql('postgres', 'SELECT count(*) FROM users WHERE cozi.shard_of(id, 1024) = 5'),
	0, 'no row of the bucket is left');
is($here->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^moved'"),
	0, 'no fence is left');
is($here->safe_psql('postgres', "SELECT count(*) FROM cozi.verify_board('hot')"),
	0, 'the board of the old node counts what is left');

# What it refuses.
foreach my $case (
	[ q{cozi.move_plan(1024, 'south', '', '{posts}', '{v}')}, 'bucket 1024 is out of range' ],
	[ q{cozi.move_plan(5, 'west', '', '{posts}', '{author_id}')}, 'server "west" does not exist' ],
	[ q{cozi.move_plan(5, 'south', '', '{posts}', '{}')}, 'argument "keys" must have one column' ],
	[ q{cozi.move_plan(5, 'south', '', '{posts}', '{nothing}')}, 'column "nothing" of table' ],
	[ q{cozi.move_plan(5, 'south', '', '{posts}', '{v}')}, 'primary key of table "public.posts"' ],
	[ q{cozi.move_plan(5, 'south', NULL, '{posts}', '{v}')}, '"connection" must not be null' ])
{
	my (undef, undef, $err) = $here->psql('postgres', "SELECT $case->[0]");
	like($err, qr/\Q$case->[1]/, "move_plan refuses: $case->[1]");
}
$_->stop foreach values %node;
done_testing();
