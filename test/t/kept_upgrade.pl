# pg_upgrade of a cluster that has all that cozi keeps: boards, counters, edges,
# policies, keys, limits.  Both clusters are of the server under test; pg_upgrade
# restores the schema in its own way (an empty extension, members one by one, no
# row through a trigger) whichever versions it goes between.  COZI_OLD_INSTALL
# names the prefix of an older server with cozi in it, to come from there.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($bindir) = grep { -x "$_/pg_upgrade" } split /:/, $ENV{PATH};
my $install = $ENV{COZI_OLD_INSTALL};
# from 18 on initdb makes checksums, and both clusters must agree
my @init = $install ? (extra => ['--data-checksums']) : ();

my $old = House::server('before', install_path => $install);
$old->init(@init);
$old->start;
my $tap = $PostgreSQL::Test::Utils::tmp_check;

$old->safe_psql('postgres', q{CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN;
	CREATE DATABASE shop OWNER owner});
$old->safe_psql('shop', q{CREATE EXTENSION cozi; CREATE SCHEMA app AUTHORIZATION owner;
	SELECT cozi.grant_owner('owner'), cozi.grant_app('app');
	SELECT cozi.add_secret('a secret of thirty-two bytes and more', 'k1');
	SELECT cozi.create_rate_limit('login', 5, '1 minute');
	SET ROLE owner;
	CREATE TABLE app.votes (post_id bigint, user_id bigint, value smallint,
	    created_at timestamptz DEFAULT now(), PRIMARY KEY (post_id, user_id));
	CREATE TABLE app.parts (item int, u int, created_at timestamptz DEFAULT '2026-06-01',
	    PRIMARY KEY (item, u)) PARTITION BY RANGE (item);
	CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (0) TO (50);
	CREATE TABLE app.parts_2 PARTITION OF app.parts FOR VALUES FROM (50) TO (100);
	CREATE TABLE app.posts (id bigint PRIMARY KEY, author bigint);
	CREATE TABLE app.follows (src bigint, dst bigint, PRIMARY KEY (src, dst));
	GRANT USAGE ON SCHEMA app TO app;
	SELECT cozi.create_board('hot', 'app.votes', 'post_id', 'value', item_table => 'app.posts');
	SELECT cozi.create_board('hot_parts', 'app.parts', 'item');
	SELECT cozi.create_counter('likes', 'app.votes', 'post_id');
	SELECT cozi.register_edge('following', 'app.follows', 'src', 'dst');
	SELECT cozi.protect('app.posts', 'author');
	INSERT INTO app.votes SELECT g % 50, g, CASE WHEN g % 7 = 0 THEN -1 ELSE 1 END, '2026-06-01'
		FROM generate_series(1, 500) g;
	SELECT cozi.fold();
	INSERT INTO app.parts SELECT g % 100, g FROM generate_series(1, 500) g;
	SELECT cozi.hide_item('app.hot', '5')});

# All that must come over, as text.  The rows of app.parts are not folded yet.
my $all = q{
	SELECT 'board' kind, board::text a, state b, '' c, '' d FROM cozi.boards
	UNION ALL SELECT 'counter', counter::text, state, '', '' FROM cozi.counters
	UNION ALL SELECT 'hot', item::text, ups::text, downs::text, heat::text FROM app.hot_live
	UNION ALL SELECT 'parts', item::text, ups::text, '', heat::text FROM app.hot_parts_live
	UNION ALL SELECT 'likes', key::text, n::text, '', '' FROM app.likes
	UNION ALL SELECT 'hidden', item, '', '', '' FROM cozi.hidden_items('app.hot') item
	UNION ALL SELECT 'policy', polname, polcmd::text, pg_get_expr(polqual, polrelid), ''
		FROM pg_policy
	UNION ALL SELECT 'key', kid, alg, '', '' FROM cozi.jwks
	UNION ALL SELECT 'edge', edge::text, relation::text, '', '' FROM cozi.edges
	UNION ALL SELECT 'limit', name, max_calls::text, per::text, '' FROM cozi.rate_limit_config
	UNION ALL SELECT 'trigger', tgname, tgrelid::regclass::text, tgenabled::text, ''
		FROM pg_trigger WHERE NOT tgisinternal
	ORDER BY 1, 2, 3};
my $wrong = q{
	SELECT (SELECT count(*) FROM cozi.boards b, cozi.verify_board(b.board))
		+ (SELECT count(*) FROM cozi.counters c, cozi.verify_counter(c.counter))};
my $before = $old->safe_psql('shop', $all);
like($before, qr/^hot\|.*^likes\|.*^parts\|/ms, 'the old cluster has what must come over');
$old->stop;

my $new = House::server('after');
$new->init(@init);
chdir $tap or die "$tap: $!";
command_ok(
	[
		'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $install ? "$install/bin" : $bindir, '-B', $bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade ends without an error');
$new->start;
is($new->safe_psql('shop', $all),
	$before, 'every row, state, key, policy and trigger is as it was before pg_upgrade');
is($new->safe_psql('shop', $wrong), 0, 'every board and counter equals a recount');

$new->safe_psql(
	'shop', q{SET ROLE owner;
	INSERT INTO app.votes VALUES (3, 5000, 1);
	DELETE FROM app.parts WHERE u < 100;
	CREATE TABLE app.parts_3 PARTITION OF app.parts FOR VALUES FROM (100) TO (200);
	INSERT INTO app.parts_3 VALUES (101, 1);
	SELECT cozi.fold(), cozi.show_item('app.hot', '5');
	SELECT cozi.set_half_life('app.hot', '1 day'), cozi.rebuild_board('app.hot_parts')});
is($new->safe_psql('shop', $wrong), 0, 'boards and counters go on after pg_upgrade');
is( $new->safe_psql(
		'shop', q{SELECT string_agg(state, ',') FROM (SELECT state FROM cozi.boards
			UNION ALL SELECT state FROM cozi.counters) x}),
	'ok,ok,ok',
	'no board and no counter is stalled after pg_upgrade');
is( $new->safe_psql(
		'shop', q{DROP TABLE app.votes, app.parts;
		SELECT (SELECT count(*) FROM cozi.kept) + (SELECT count(*) FROM cozi.kept_state)}),
	0,
	'what is dropped after pg_upgrade leaves nothing');
$new->safe_psql('shop', 'DROP EXTENSION cozi CASCADE');
$new->stop;
done_testing();
