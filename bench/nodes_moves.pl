# The map of 1,024 buckets against user_id mod N, when a fifth node comes to four:
# how many of 1,000,000 users move, and how even the nodes are afterwards.
use strict;
use warnings;
use Bench;

my $dbh = Bench::connect();
$dbh->do('CREATE EXTENSION cozi');
my $users = 1_000_000;
$dbh->do("SELECT cozi.add_node(n) FROM unnest('{a,b,c,d}'::text[]) n");
my $move = 'SELECT sum(cozi.move_buckets(buckets, to_node))'
  . ' FROM cozi.rebalance_plan(tolerance => 0)';
$dbh->do($move);
$dbh->do("CREATE TABLE before AS SELECT g::bigint AS id, cozi.node_of(g::bigint) AS node"
	  . " FROM generate_series(1, $users) g");
$dbh->do("SELECT cozi.add_node('e')");
$dbh->do($move);

sub row
{
	my ($name, $old, $new) = @_;
	my ($moved, $most) = $dbh->selectrow_array(
		"WITH x AS (SELECT ($old)::text AS old, ($new)::text AS new FROM before)"
		  . " SELECT 100.0 * count(*) FILTER (WHERE old <> new) / $users,"
		  . " (SELECT max(n) FROM (SELECT count(*) AS n FROM x GROUP BY new) y) * 5.0 / $users"
		  . ' FROM x');
	printf "%-22s %5.1f %% moved, the fullest node has %.4f of its share\n", $name, $moved, $most;
	return $moved;
}
Bench::title("$users users, from 4 to 5 nodes");
my $mapped = row('buckets and a map', 'node', 'cozi.node_of(id)');
my $modulo = row('mod N', 'cozi.shard_of(id, 4)', 'cozi.shard_of(id, 5)');
die "the map moves more than 21 %\n" if $mapped > 21;
die "mod N moves less than 75 %\n" if $modulo < 75;
