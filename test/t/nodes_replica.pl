# A standby that streams: what runs there, what does not, and when it may be read.
# Each line of the table in doc/nodes.md is one case here.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = House::server('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf',
	"fsync = off\nshared_preload_libraries = 'pg_stat_statements,cozi'");
$primary->start;
$primary->safe_psql(
	'postgres', q{CREATE EXTENSION pg_stat_statements; CREATE EXTENSION cozi;
	CREATE TABLE votes (post_id int, voter int, created_at timestamptz DEFAULT now(),
		PRIMARY KEY (post_id, voter));
	CREATE TABLE posts (id bigint, author_id bigint, PRIMARY KEY (id, author_id))
		PARTITION BY HASH (author_id);
	SELECT cozi.create_shards('posts', 2);
	CREATE SEQUENCE ids;
	SELECT cozi.create_board('hot', 'votes', 'post_id');
	SELECT cozi.add_node('a');
	CREATE FOREIGN DATA WRAPPER nowhere;
	CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	SELECT cozi.create_rate_limit('posting', 5, '1 minute');
	INSERT INTO votes SELECT g % 10, g FROM generate_series(1, 100) g});
$primary->backup('b');
my $standby = House::server('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

# The table of doc/nodes.md: the page names the function, and says yes or no.
my ($page) = slurp_file('doc/nodes.md') =~ /^## Read replicas$(.*?)^## /ms;
my %case = (
	shard_of => 'cozi.shard_of(42, 64)',
	node_of => 'cozi.node_of(42)',
	uuid7 => 'cozi.uuid7(5)',
	next_id => "cozi.next_id('ids')",
	top => "count(*) FROM cozi.top('hot', 5)",
	verify_board => "count(*) FROM cozi.verify_board('hot')",
	shard_report => "count(*) FROM cozi.shard_report('posts')",
	shard_check => "count(*) FROM cozi.shard_check('posts')",
	shard_digest => "rows FROM cozi.shard_digest('posts')",
	split_plan => "count(*) FROM cozi.split_plan('posts_shard_0', 'far', 'host=here')",
	move_plan => "count(*) FROM cozi.move_plan(5, 'far', 'host=here', '{votes}', '{post_id}')",
	attach_plan => "count(*) FROM cozi.attach_plan('posts', 2)",
	citus_setup_plan => "count(*) FROM cozi.citus_setup_plan('{votes}', '{post_id}')",
	colocation_check => "count(*) FROM cozi.colocation_check('{posts}')",
	top_across => "count(*) FROM cozi.top_across('{hot}', 5)",
	replica_ok => "cozi.replica_ok('1 s')",
	rebalance_plan => 'count(*) FROM cozi.rebalance_plan()',
	logout => 'cozi.logout()',
	uid => 'cozi.uid()',
	rate_limit => "cozi.rate_limit('k', 5, '1 minute')",
	use_rate_limit => "cozi.use_rate_limit('posting', 'k')",
	health => 'count(*) FROM cozi.health',
	slow_queries => 'count(*) FROM cozi.slow_queries',
	advice => 'count(*) FROM cozi.advice',
	fold => "cozi.fold('hot')",
	create_board => "cozi.create_board('b', 'votes', 'post_id')",
	move_buckets => "cozi.move_buckets('{5}', 'a')",
	wait_for_slot => "cozi.wait_for_slot('s')",
	snapshot => 'cozi.snapshot()');
my %said;
foreach my $row ($page =~ /^\| (`\w+`.*\| (?:yes|no)\b.*)\|$/mg)
{
	my ($names, $answer) = $row =~ /^(.*?) \| (yes|no)/;
	$said{$_} = $answer foreach $names =~ /`(\w+)`/g;
}
is_deeply([ sort keys %said ], [ sort keys %case ], 'the page names each function that is tried');
foreach my $name (sort keys %case)
{
	my ($status, undef, $err) = House::attempt($standby, 'postgres', "SELECT $case{$name}");
	my $refused = $err =~ /read-only transaction|recovery|a standby cannot/;
	my $answer = $status == 0 ? 'yes' : $refused ? 'no' : $err;
	is($answer, $said{$name} // '', "on a standby $name runs as the page says");
}

# When a standby may be read.
sub ok_there { return $standby->safe_psql('postgres', "SELECT cozi.replica_ok('$_[0]')") }
is($primary->safe_psql('postgres', "SELECT cozi.replica_ok('0')"),
	't', 'a primary may always be read');
ok($standby->poll_query_until('postgres', "SELECT cozi.replica_ok('10 s')"),
	'a standby that replays may be read');
# A moment in which the primary has just written something else may say no.
ok( $standby->poll_query_until(
		'postgres', "SELECT cozi.replica_ok('100 ms')
			AND clock_timestamp() - pg_last_xact_replay_timestamp() > interval '200 ms'"
	),
	'a standby of an idle primary may be read, however long ago the last commit was');

$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$standby->poll_query_until('postgres', "SELECT pg_get_wal_replay_pause_state() = 'paused'");
$primary->safe_psql('postgres', 'DELETE FROM votes');
$primary->wait_for_catchup($standby, 'flush', $primary->lsn('insert'));
$standby->poll_query_until('postgres',
	"SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > interval '200 ms'");
is(ok_there('100 ms'), 'f', 'a standby that has received more than it replays may not');
is(ok_there('1 day'), 't', 'a standby may be read by those whom its lag does not trouble');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$standby->poll_query_until('postgres', "SELECT cozi.replica_ok('100 ms')");
pass('a standby that has caught up may be read again');

$primary->safe_psql('postgres', "SELECT cozi.add_node('b'), cozi.move_buckets('{1,2,3}', 'b')");

# PgDog's lookup_query, as the page has it.
my ($lookup) = slurp_file('doc/nodes_engines.md') =~ /^lookup_query = """(.*?)"""$/ms;
$lookup =~ s/\$1/i/;
$primary->safe_psql('postgres', "CREATE ROLE router; SELECT cozi.grant_app('router')");
is( $primary->safe_psql('postgres', <<"SQL"),
SET ROLE router;
SELECT count(*) FROM generate_series(1, 300) i
WHERE (SELECT n.number FROM cozi.nodes n WHERE n.node = cozi.node_of(i)) = ($lookup);
SQL
	300, 'the query of the page by which PgDog looks a user up names the number of the node');

# A copy of the map by logical replication, as the page makes one for another region.
$primary->safe_psql('postgres', 'CREATE DATABASE region');
$primary->safe_psql('postgres', q{
	CREATE PUBLICATION everywhere FOR TABLE cozi.nodes, cozi.shard_map;
	SELECT pg_create_logical_replication_slot('everywhere', 'pgoutput')});
my $copy = House::session($primary, 'region');
$copy->query_safe('CREATE EXTENSION cozi');
$copy->query_safe("CREATE SUBSCRIPTION everywhere CONNECTION"
	  . " 'host=@{[$primary->host]} port=@{[$primary->port]} dbname=postgres'"
	  . ' PUBLICATION everywhere WITH (create_slot = false)');
$primary->poll_query_until('region',
	"SELECT count(*) = 2 FROM pg_subscription_rel WHERE srsubstate = 'r'");
is($copy->query_safe('SELECT cozi.node_of_bucket(5)'), 'a', 'a copy of the map routes');
my $version = $copy->query_safe('SELECT cozi.shard_map_version()');
$primary->safe_psql('postgres', q{SELECT cozi.move_buckets('{5}', 'b')});
$primary->wait_for_catchup('everywhere');
is($copy->query_safe('SELECT cozi.node_of_bucket(5)'),
	'b', 'a session that has read the copy sees a change with its next statement');
is($copy->query_safe("SELECT bucket FROM cozi.shard_map WHERE version > $version"),
	5, 'a client of the copy is told what has changed since its version');
my $map = 'SELECT md5(string_agg(m::text, \',\' ORDER BY bucket)) FROM cozi.shard_map m';
is($copy->query_safe($map), $primary->safe_psql('postgres', $map), 'the copy is the original');
$copy->query_safe('SET client_min_messages = warning; DROP SUBSCRIPTION everywhere');
$version = $copy->query_safe('SELECT cozi.shard_map_version()');
$copy->query_safe("SELECT cozi.move_buckets('{6}', 'b')");
ok($copy->query_safe('SELECT cozi.shard_map_version()') > $version,
	'a copy that is changed itself goes on with greater versions');
$copy->quit;

$primary->stop;
$standby->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver');
$standby->poll_query_until('postgres',
	"SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > interval '200 ms'");
is(ok_there('100 ms'), 'f', 'a standby that does not hear from its primary may not be read');
is($standby->safe_psql('postgres', 'SELECT cozi.replica_ok(NULL) IS NULL'),
	't', 'replica_ok of NULL is NULL');
$standby->stop;
done_testing();
