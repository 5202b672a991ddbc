# The way back: each step of a split taken back, the swap too, with what was
# written after it; and a server that crashes on the way.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Plan;

my %node;
foreach my $name (qw(here south))
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init(allows_streaming => 'logical');
	$node{$name}
	  ->append_conf('postgresql.conf', "fsync = off\nwal_retrieve_retry_interval = 100ms");
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
CREATE TABLE posts (id int NOT NULL, author_id bigint NOT NULL, v int,
    PRIMARY KEY (id, author_id)) PARTITION BY HASH (author_id);
SELECT cozi.create_shards('posts', 2);
INSERT INTO posts SELECT i, i, 0 FROM generate_series(1, 1000) i;
SQL
my $connection = $here->connstr('postgres') =~ s/'/''/gr;
my $plan = Plan->new(\%node, "cozi.split_plan('posts_shard_1', 'south', '$connection')");
ok($plan->run(phase => $_), "phase $_ runs") foreach qw(prepare copy);
$node{south}->stop('immediate');
$here->safe_psql('postgres', 'UPDATE posts SET v = 1');
$node{south}->start;
ok($plan->run(phase => $_), "phase $_ runs after a crash of the other server")
  foreach qw(compare);
$here->stop('immediate');
$here->start;
ok($plan->run(phase => $_), "phase $_ runs after a crash of this server") foreach qw(swap);
$here->safe_psql('postgres',
	'UPDATE posts SET v = 2 WHERE author_id < 500; DELETE FROM posts WHERE author_id > 990;
	INSERT INTO posts SELECT 2000, i, 3 FROM generate_series(1, 50) i');
my $digest = $here->safe_psql('postgres', "SELECT cozi.shard_digest('posts')");
foreach my $step (reverse $plan->steps("undo IS NOT NULL AND phase IN ('copy', 'swap')"))
{
	my ($status, $error) = $plan->step($step, 'undo');
	is($status, 0, "step $step is taken back") or diag($error);
}
is($here->safe_psql('postgres', "SELECT cozi.shard_digest('posts')"),
	$digest, 'no row is lost on the way back');
is( $here->safe_psql(
		'postgres', q{SELECT (SELECT string_agg(inhrelid::regclass::text, ',' ORDER BY 1)
		FROM pg_inherits WHERE inhparent = 'posts'::regclass), (SELECT count(*) FROM pg_constraint
		WHERE conrelid = 'posts'::regclass AND contype = 'p'), (SELECT count(*) FROM
		pg_replication_slots), (SELECT count(*) FROM pg_publication)}),
	'posts_shard_0,posts_shard_1|1|0|0',
	'the table is what it was');
$_->stop foreach values %node;
done_testing();
