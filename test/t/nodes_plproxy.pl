# PL/Proxy on the map of buckets: the section of doc/nodes_engines.md, run as it stands.
use strict;
use warnings;
use House;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = House::server('proxy');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
plan skip_all => 'no PL/Proxy in this server'
  unless $node->safe_psql('postgres',
	"SELECT count(*) FROM pg_available_extensions WHERE name = 'plproxy'");

my ($section) = slurp_file('doc/nodes_engines.md') =~ /^## PL\/Proxy$(.*?)(?=^## |\z)/ms;
my ($proxy, $worker, $best) = $section =~ /^```\n(.*?)^```$/msg;
my $place = sprintf 'host=%s port=%s dbname', $node->host, $node->port;
$proxy =~ s/dbname(?==)/$place/;

$node->safe_psql('postgres', 'CREATE EXTENSION cozi');
foreach my $database (qw(s0 s1))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database,
		"CREATE TABLE posts (author_id bigint, id bigint, score int); $worker");
}
$node->safe_psql('postgres', $proxy);
$node->safe_psql('postgres', 'SELECT add_post(i, i, i % 997) FROM generate_series(1, 300) i');

# Each post is on the node of its author, and the best of all are found.
my %there = map { $_ => $node->safe_psql($_, 'SELECT author_id FROM posts ORDER BY 1') } qw(s0 s1);
is( $there{$_},
	$node->safe_psql(
		'postgres',
		"SELECT i FROM generate_series(1, 300) i WHERE cozi.node_of(i) = '$_' ORDER BY 1"),
	"node $_ has the posts of its users, and no others") foreach sort keys %there;
is($node->safe_psql('postgres', $best),
	join("\n", map { "$_|$_|$_" } reverse 291 .. 300),
	'the ten best of both nodes are the ten best');
is($node->safe_psql('postgres', 'SELECT count(*) FROM best_posts(1000)'),
	300, 'each node is asked once');
$node->stop;
done_testing();
