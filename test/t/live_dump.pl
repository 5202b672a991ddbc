# A dump carries the tracking of changes: a reader of the restored database begins
# anew, is told so, and then misses nothing.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('live_dump');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION cozi;
	CREATE TABLE votes (post int, created_at timestamptz DEFAULT clock_timestamp());
	SELECT cozi.create_board('hot', 'votes', 'post');
	SELECT cozi.track_changes('hot');
	SELECT cozi.announce_changes('hot', 'hot', payload => 'counts');
	INSERT INTO votes VALUES (1), (2), (3);
	SELECT cozi.fold();
	DELETE FROM votes WHERE post = 3;
	SELECT cozi.fold();});
my $cursor = $node->safe_psql('postgres', q{SELECT cozi.change_cursor('hot')});
my $dump = "$PostgreSQL::Test::Utils::tmp_check/live.dump";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ],
	'a database with tracked changes is dumped');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ],
	'a database with tracked changes is restored');

my ($rc, $out, $err) =
  $node->psql('restored', "SELECT * FROM cozi.changes_since('hot', '$cursor')");
like($err, qr/no longer known/, 'a cursor of the dumped database is refused in the restored one');
my $all = q{SELECT string_agg(item || ' ' || gone, ',' ORDER BY item) FROM cozi.changes_since(};
is($node->safe_psql('restored', "$all 'hot')"),
	'1 false,2 false,3 true', 'a reader who begins anew is given all keys');
$node->safe_psql('restored', 'INSERT INTO votes VALUES (2); SELECT cozi.fold()');
$cursor = $node->safe_psql('restored', q{SELECT cozi.change_cursor('hot')});
$node->safe_psql('restored', 'INSERT INTO votes VALUES (1); SELECT cozi.fold()');
is($node->safe_psql('restored', "$all 'hot', '$cursor')"),
	'1 false', 'changes are numbered in the restored database');
# An announcement goes on in the restored database, where it is the restored owner's.
is($node->safe_psql('restored', q{SELECT topic || ' ' || payload || ' ' || state
	FROM cozi.announcements}), 'hot counts ok', 'an announcement is restored');
is($node->safe_psql('restored', 'SELECT cozi.notify_flush()'),
	1, 'a restored announcement begins with a message');
is($node->safe_psql('restored', 'SELECT cozi.notify_flush()'),
	0, 'the first message of a restored announcement is sent once');
$node->stop;
done_testing();
