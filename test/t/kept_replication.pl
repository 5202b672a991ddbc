# Kept tables and logical replication: a publication of all tables stops no fold,
# and a subscriber that has the extension receives the board as rows.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = House::server('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = House::server('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->start;

my $schema = q{CREATE TABLE votes (post int, voter int, created_at timestamptz DEFAULT now(),
	PRIMARY KEY (post, voter))};
$publisher->safe_psql('postgres', "CREATE EXTENSION cozi; $schema;
	SELECT cozi.create_board('hot', 'votes', 'post');
	INSERT INTO votes SELECT g % 10, g FROM generate_series(1, 100) g;
	SELECT cozi.fold()");
my $dump = "$PostgreSQL::Test::Utils::tmp_check/s.sql";
$publisher->command_ok([ 'pg_dump', '-s', '-f', $dump, '-d', $publisher->connstr('postgres') ],
	'the schema is dumped');
$subscriber->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d',
	$subscriber->connstr('postgres') ],
	'the schema is restored on the subscriber');

$publisher->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
# the kept tables and the votes: those of other rooms have pages of their own
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '" . $publisher->connstr
	  . " dbname=postgres' PUBLICATION everything");
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_subscription_rel
	WHERE srrelid IN ('votes'::regclass, 'hot'::regclass) AND srsubstate IN ('r', 's')});
is($subscriber->safe_psql('postgres', 'SELECT count(*), sum(ups) FROM hot'), '10|100',
	'the subscriber has the board as it was');

$publisher->safe_psql('postgres', q{INSERT INTO votes SELECT 77, g FROM generate_series(1, 5) g;
	DELETE FROM votes WHERE post = 3});
is($publisher->safe_psql('postgres', 'SELECT cozi.fold() >= 0;
SELECT sum(pending) FROM cozi.boards'),
	"t\n0", 'a publication of all tables stops no fold');
$publisher->wait_for_catchup('s');
is($subscriber->safe_psql('postgres', 'SELECT item, ups FROM hot WHERE item IN (3, 77)'), '77|5',
	'the subscriber follows the folds of the publisher');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM votes'), '95',
	'the subscriber has the votes');
is($publisher->safe_psql('postgres', q{SELECT count(*) FROM cozi.verify_board('hot')}), 0,
	'the board of the publisher equals a recount');
my $log = slurp_file($subscriber->logfile);
unlike($log, qr/ERROR:  .*(kept_|"hot"|"votes")/, 'no kept table stops the subscription');
$subscriber->stop;
$publisher->stop;
done_testing();
