
# Edges and policies through a dump: without comments, with many jobs, by an owner
# without rights on schema cozi; and out of the door.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Token;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init;
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION cozi;
	SELECT cozi.add_secret('$secret');
	CREATE ROLE owner; CREATE ROLE client;
	GRANT USAGE, CREATE ON SCHEMA public TO owner; GRANT USAGE ON SCHEMA cozi TO owner, client;
	GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect, cozi.unprotect TO owner;
	SET ROLE owner;
	CREATE TABLE follows (a bigint, b bigint, status text, PRIMARY KEY (a, b));
	CREATE TABLE gone (a bigint, b bigint, PRIMARY KEY (a, b));
	INSERT INTO follows VALUES (1, 2, 'accepted'), (1, 3, 'pending');
	SELECT cozi.register_edge('following', 'follows', 'a', 'b', status => 'status',
            accepted => '{accepted}');
	SELECT cozi.register_edge('member', 'gone', 'a', 'b');
	ALTER TABLE follows RENAME TO "to Follow";
	DROP TABLE gone;
	CREATE TABLE gone (a bigint, b bigint, PRIMARY KEY (a, b));
	INSERT INTO gone VALUES (1, 7);
	CREATE TABLE posts (id int, author bigint, vis text, PRIMARY KEY (id, author))
     PARTITION BY HASH (author);
	CREATE TABLE posts_0 PARTITION OF posts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE posts_1 PARTITION OF posts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	INSERT INTO posts SELECT g, 1 + g % 4, (array['public', 'followers', 'private'])[1 + g % 3]
	FROM generate_series(1, 60) g;
	SELECT cozi.protect('posts', 'author', 'vis', override_role => 'moderator');
	GRANT SELECT, UPDATE ON posts, posts_0, posts_1 TO client;
	CREATE TABLE posts_list (id int,
     author bigint); ALTER TABLE posts_list ENABLE ROW LEVEL SECURITY;
	SELECT cozi.protect('posts_list', 'author');
});

# What caller 1 is shown, what a partition shows, and what a moderator may not do.
sub shown
{
	my ($db) = @_;
	my $one = token('1');
	my $moderator = token('9', '"role":"moderator"');
	my (undef, undef, $err) = $node->psql($db, qq{
		BEGIN; SELECT cozi.login('$moderator'); SET LOCAL ROLE client; UPDATE posts SET author = 3
      WHERE id = 1;});
	return $node->safe_psql($db, qq{
		BEGIN; SELECT cozi.login('$one'); SET LOCAL ROLE client;
		SELECT count(*), sum(id), (SELECT count(*) FROM posts_0), cozi.is_member(7)
  FROM posts; COMMIT;})
	  . ($err =~ /may not give a row/ ? ' kept' : ' given away');
}
my $before = shown('postgres');
like($before, qr/^1\n\d\d\|\d+\|0\|f kept$/,
    'caller 1 is shown some rows, and none of a partition');

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
foreach my $dump ([ 'plain', '-Fp' ], [ 'plain without comments', '-Fp', '--no-comments' ],
    [ 'custom', '-Fc' ])
{
	my ($name, @options) = @$dump;
	my $db = $name =~ s/ /_/gr;
	$node->command_ok([ 'pg_dump', @options, '-f', "$tmp/$db", '-d', $node->connstr('postgres') ],
     "$name: the database is dumped");
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$node->command_ok($name eq 'custom' ? [ 'pg_restore', '-e', '-j', '3', '-d',
     $node->connstr($db), "$tmp/$db" ]
		: [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$tmp/$db", '-d',
      $node->connstr($db) ], "$name: the dump restores without an error");
	is(shown($db), $before, "$name: policies and edges answer as before");
	unlike($node->safe_psql($db, 'SELECT rel FROM cozi.edge_config'), qr/\d{4}/,
     "$name: no edge names its table by a number");
	is($node->safe_psql($db, q{SELECT edge, relation, trouble FROM cozi.edges ORDER BY edge}),
		qq{following|"to Follow"|\nmember||its table was dropped},
  "$name: the edge of a dropped table stays broken");
	$node->safe_psql($db, q{CREATE TABLE late (LIKE posts); GRANT ALL ON late TO client;
		ALTER TABLE posts DETACH PARTITION posts_1; DELETE FROM posts_1;
		ALTER TABLE posts ATTACH PARTITION late FOR VALUES WITH (MODULUS 2, REMAINDER 1);
      INSERT INTO posts SELECT 100 + g, g, 'private' FROM generate_series(2, 9) g});
	is($node->safe_psql($db, 'SET ROLE client; SELECT count(*) FROM late'), '0',
     "$name: a partition attached later is closed");
	$node->safe_psql($db,
     'SELECT cozi.unprotect(t) FROM unnest($${posts,posts_list}$$::regclass[]) t');
	is($node->safe_psql($db, q{SELECT relname, relrowsecurity FROM pg_class
		WHERE relname IN ('posts', 'posts_0', 'late', 'posts_list') ORDER BY 1}),
		"late|f\nposts|f\nposts_0|f\nposts_list|t", "$name: unprotect() knows what was before");
}

# Out of the door: the plan removes all of it, and the rows are there for whom they were.
$node->safe_psql('postgres', $_) foreach split /\n/,
$node->safe_psql('postgres', 'SELECT cozi.uninstall_plan()');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'cozi'}), '0',
    'the extension is dropped by its plan');
is($node->safe_psql('postgres', 'SET ROLE client; SELECT count(*) FROM posts'), '60',
    'the table that was protected is readable again');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_policy}), '0', 'no policy is left');

$node->stop;
done_testing();
