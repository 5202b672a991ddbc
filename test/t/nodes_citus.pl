# Tables that Citus distributes: what citus_setup_plan() prints makes them, with
# their boards, counters, activities and edges, and every vote is counted once.
# A coordinator and two workers.  It runs where Citus is installed.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $share = `pg_config --sharedir`);
plan skip_all => 'no Citus in this server' unless -e "$share/extension/citus.control";

my %node;
foreach my $name (qw(main one two))
{
	my $node = $node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', <<"CONF");
fsync = off
wal_level = logical
max_prepared_transactions = 50
max_worker_processes = 20
statement_timeout = '120s'
shared_preload_libraries = 'citus,pg_stat_statements,cozi'
citus.local_hostname = '@{[$node->host]}'
citus.node_conninfo = 'sslmode=prefer'
CONF
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION citus');
}
sub main { return $node{main}->safe_psql('postgres', $_[0]) }

sub code
{
	my ($sql) = @_;
	my (undef, undef, $err) = $node{main}->psql('postgres', "\\set VERBOSITY sqlstate\n$sql");
	return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err;
}
my ($host, $port) = ($node{main}->host, $node{main}->port);
main("SELECT citus_set_coordinator_host('$host', $port)");
main("SELECT citus_add_node('@{[$node{$_}->host]}', @{[$node{$_}->port]})") foreach qw(one two);
note(main('SELECT citus_version()'));

# One machine, as it was.
main(<<'SQL');
CREATE EXTENSION cozi;
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE SEQUENCE post_ids;
CREATE TABLE posts (author_id bigint REFERENCES users, id bigint DEFAULT cozi.next_id('post_ids'),
                    created_at timestamptz DEFAULT now(), PRIMARY KEY (author_id, id));
CREATE TABLE votes (author_id bigint, post_id bigint, voter_id bigint, value int DEFAULT 1,
                    created_at timestamptz DEFAULT '2026-01-01 00:00+00',
                    PRIMARY KEY (author_id, post_id, voter_id),
                    FOREIGN KEY (author_id, post_id) REFERENCES posts ON DELETE CASCADE);
CREATE TABLE visits (user_id bigint, id bigint, created_at timestamptz DEFAULT now(),
                     PRIMARY KEY (user_id, id));
CREATE TABLE follows (who bigint, whom bigint, PRIMARY KEY (who, whom));
SELECT cozi.create_board('hot', 'votes', 'post_id', 'value');
SELECT cozi.create_counter('posts_of', 'posts', 'author_id');
SELECT cozi.create_activity('user_days', 'visits', 'user_id');
SELECT cozi.register_edge('following', 'follows', 'who', 'whom');
CREATE ROLE app LOGIN;
GRANT SELECT ON hot TO app;
INSERT INTO users SELECT g, 'u' || g FROM generate_series(1, 60) g;
INSERT INTO posts (author_id, id) SELECT g, g * 10 FROM generate_series(1, 60) g;
INSERT INTO votes SELECT a, a * 10, v, CASE v WHEN 3 THEN -1 ELSE 1 END
FROM generate_series(1, 60) a, generate_series(1, 9) v WHERE v <= a % 10;
INSERT INTO visits SELECT g % 20, g FROM generate_series(1, 100) g;
INSERT INTO follows VALUES (1, 5), (1, 6);
SQL

my $plan = q(SELECT statement FROM cozi.citus_setup_plan('{votes,posts,users,visits}',
	'{author_id,author_id,id,user_id}', 8, '{follows}') WHERE phase LIKE '%s' ORDER BY step);
my $again = main(sprintf $plan =~ s/statement/statement || ';'/r, '%again');
main(sprintf("$plan \\gexec", '%'));
is(main('SELECT count(*) FROM citus_tables'), 8, 'the plan runs as it is printed');
is( main('SELECT count(DISTINCT colocation_id) FROM citus_tables'
		  . " WHERE citus_table_type = 'distributed'"),
	1, 'tables and what is kept of them lie together');

# Everything kept is what a recount says.
my $differ = <<'SQL';
SELECT (SELECT count(*) FROM (
            SELECT author_id, post_id, count(*) FILTER (WHERE value > 0) AS ups,
                   count(*) FILTER (WHERE value < 0) AS downs
            FROM votes GROUP BY author_id, post_id) v
        FULL JOIN (SELECT * FROM hot) h ON h.scope = v.author_id AND h.item = v.post_id
        WHERE (h.ups, h.downs) IS DISTINCT FROM (v.ups, v.downs))
     + (SELECT count(*) FROM (SELECT author_id, count(*) AS n FROM posts GROUP BY author_id) p
        FULL JOIN (SELECT * FROM posts_of) c ON c.key = p.author_id WHERE c.n IS DISTINCT FROM p.n)
     + (SELECT count(*) FROM (SELECT DISTINCT user_id FROM visits) v
        FULL JOIN (SELECT * FROM user_days) d USING (user_id)
        WHERE v.user_id IS NULL OR d.days IS DISTINCT FROM 1 << extract(day FROM now())::int - 1)
SQL
sub agree
{
	my ($name) = @_;
	ok($node{main}->poll_query_until('postgres', $differ, 0), $name);
	return;
}
agree('boards, counters and activities have what was there before');

main(<<'SQL');
INSERT INTO votes VALUES (1, 10, 90), (2, 20, 90), (3, 30, 90);
INSERT INTO votes SELECT author_id, id, 91 FROM posts;
INSERT INTO votes VALUES (5, 50, 92) ON CONFLICT DO NOTHING;
INSERT INTO votes VALUES (5, 50, 92) ON CONFLICT (author_id, post_id, voter_id)
    DO UPDATE SET value = -1;
UPDATE votes SET value = -value WHERE voter_id = 2;
DELETE FROM votes WHERE author_id = 59;
BEGIN; INSERT INTO votes VALUES (7, 70, 93), (8, 80, 93); ROLLBACK;
DELETE FROM posts WHERE author_id = 58;
INSERT INTO posts (author_id) SELECT g FROM generate_series(1, 30) g;
INSERT INTO visits SELECT g, 1000 + g FROM generate_series(15, 40) g;
SQL
agree('each write on distributed tables is counted once, also by two-phase commit');
is( main('SELECT string_agg(item::text, \' \') FROM'
		  . ' (SELECT item FROM hot ORDER BY heat DESC, item DESC LIMIT 3) x'),
	main('SELECT string_agg(post_id::text, \' \') FROM (SELECT post_id FROM votes GROUP BY post_id'
		  . ' ORDER BY cozi.heat(1, \'2026-01-01 00:00+00\', \'6 hours\')'
		  . '     + log(2, count(*) FILTER (WHERE value > 0)) + log(2, count(*) FILTER'
		  . '     (WHERE value > 0)::numeric / count(*)) DESC, post_id DESC LIMIT 3) x'),
	'the top of all shards is the top of a recount');
like(
	main('EXPLAIN (COSTS OFF) SELECT item FROM hot ORDER BY heat DESC, item DESC LIMIT 3'),
	qr/Task Count: 8.*->  Limit/s,
	'each shard is asked for no more rows than are wanted');
main('CREATE INDEX ON posts (created_at DESC, id DESC)');
is( main("SELECT string_agg(item, ' ') FROM cozi.top_ranked('posts', 'hacker_news', 5,"
		  . " points => 'author_id', as_of => '2100-01-01')"),
	main("SELECT string_agg(id::text, ' ') FROM (SELECT id FROM posts ORDER BY"
		  . " cozi.hacker_news(author_id, created_at, '2100-01-01') DESC, id DESC LIMIT 5) x"),
	'top_ranked of a distributed table is exact');
is( main("SELECT count(*) FROM hot, cozi.top_across('{hot}', 5) t"
		  . ' WHERE t.item = hot.item::text AND t.heat = hot.heat'),
	5, 'top_across reads a distributed board');
is( main(q{SELECT sum(result::int) FROM run_command_on_shards('user_days',
	$$SELECT sum(dau) FROM cozi.active_users('%s', current_date, current_date)$$)}),
	main('SELECT count(DISTINCT user_id) FROM visits'),
	'active users add up over shards');
is(main("SET ROLE app; SELECT count(*) > 0 FROM hot"), 't', 'grants on a board are kept');

# Ids and routing.
is( main('SELECT count(*) = count(DISTINCT id) AND bool_and(cozi.id_time(id) > now()'
		  . " - interval '1 hour') FROM posts WHERE id > 1000"),
	't', 'next_id makes ids as a default of a distributed table');
my $same = main(<<'SQL');
SELECT count(*) FROM generate_series(1, 800) g, LATERAL (
    SELECT count(*) AS n FROM pg_dist_shard WHERE logicalrelid = 'users'::regclass
        AND shardid < get_shard_id_for_distribution_column('users', g::bigint)) s
WHERE s.n = cozi.shard_of(g::bigint, 8)
SQL
ok($same > 50 && $same < 150, "shard_of agrees with Citus by chance: $same of 800 users");
like(
	main('EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM posts'
		  . ' ORDER BY cozi.hot(author_id, 0, created_at) DESC LIMIT 3'),
	qr/Query: SELECT .* ORDER BY \(cozi\.hot\(.* LIMIT/,
	'ranking functions run on the workers');

# A shard that moves takes its table along, and nothing else.
my ($shard, $from, $to) = map { split /\|/ }
  main("SELECT shardid, nodeport, (SELECT min(n.nodeport) FROM pg_dist_node n WHERE n.nodeport"
	  . " NOT IN (p.nodeport, $port)) FROM pg_dist_shard_placement p JOIN pg_dist_shard s"
	  . " USING (shardid) WHERE logicalrelid = 'votes'::regclass ORDER BY 1 LIMIT 1");
my %host = map { $node{$_}->port => $node{$_}->host } keys %node;
main("SELECT citus_move_shard_placement($shard, '$host{$from}', $from, '$host{$to}', $to,"
	  . " 'block_writes')");
main('INSERT INTO votes SELECT author_id, id, 95 FROM posts');
isnt(main($differ), 0, 'after the move of a shard its votes are not counted');
main($again);
agree('the statements of phases "again" count a moved shard anew');
main($again);
agree('these statements do no harm where nothing has moved');
main("SELECT isolate_tenant_to_new_shard('users', 5, 'CASCADE',"
	  . " shard_transfer_mode => 'block_writes')");
main("INSERT INTO votes SELECT author_id, id, 96 FROM posts; $again");
agree('a shard that is split, for a heavy tenant, is counted anew by them too');

# What would find nothing in a table of Citus is refused.
is(code("SELECT cozi.create_board('late', 'votes', 'post_id')"),
	'0A000', 'a board of a table that is distributed already is refused');
is(code("SELECT cozi.create_counter('late', 'votes', 'author_id')"),
	'0A000', 'a counter of a table that is distributed already is refused');
is(code("SELECT cozi.register_edge('other', 'follows', 'who', 'whom')"),
	'0A000', 'an edge on a reference table is refused, whose copies have other names');
is( code("BEGIN; SELECT cozi.act_as('1'); SELECT * FROM cozi.feed('posts', 'following', 3); END"),
	'0A000', 'a feed of a distributed table is refused by Citus');
is(code("SELECT cozi.shard_table('votes', 'author_id', 4)"),
	'0A000', 'shard_table of a distributed table is refused');

# Policies: the token goes along as a setting, and is verified where the rows are.
my $secret = 'the HS256 secret of your issuer, 32 bytes or more';
main(<<"SQL");
GRANT USAGE ON SCHEMA cozi TO app;
SELECT cozi.add_secret('$secret');
SELECT run_command_on_workers(\$\$SELECT cozi.add_secret('$secret')\$\$);
CREATE FUNCTION may_read(author bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS \$\$
BEGIN
    PERFORM cozi.login_if(current_setting('app.token', true));
    RETURN author = cozi.uid_bigint() OR cozi.is_following(author);
END \$\$;
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON posts FOR SELECT USING (may_read(author_id));
GRANT SELECT ON posts TO app;
SQL
my ($token) = reverse split /\n/,
  main("\\i test/token.sql\nSELECT pg_temp.token('1', secret => '$secret')");
my $as = "SET ROLE app; BEGIN; SET LOCAL citus.propagate_set_commands = 'local';"
  . " SET LOCAL app.token = '%s'; SELECT string_agg(DISTINCT author_id::text, ' ') FROM posts; END";
is(main(sprintf $as, $token), '1 5 6', 'a policy with login and an edge holds on the shards');
is(main("SET ROLE app; SELECT count(*) FROM posts"), 0, 'without a token no row is seen');
is(code(sprintf $as, "${token}x"), '28000', 'a forged token is refused on the shards');

# What is written by hand on a shard asks Citus first.
my $by_hand = q{SELECT bool_and(success) FROM run_command_on_shards('hot', $$SELECT cozi.%s('%%s')
	FROM set_config('citus.enable_manual_changes_to_shards', 'on', true)$$)};
is(main(sprintf $by_hand, 'rebuild_board'), 't', 'boards are rebuilt, each by its shard');
agree('boards that were rebuilt are what a recount says');
is(main(sprintf $by_hand, 'drop_board'), 't', 'boards are dropped, each by its shard');
main('DROP TABLE hot; DROP TABLE visits CASCADE; DROP TABLE user_days');
is(main('SELECT count(*) FROM citus_tables'),
	5, 'the tables of a dropped board and of a dropped source go');
$_->stop foreach values %node;
done_testing();
