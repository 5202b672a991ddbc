package Posts;

# Posts.pm: a million posts of 90 days, as the trending benches need them.
#
# Points have the heavy tail of real ones: most posts have a few, one in a
# thousand some hundreds, a handful tens of thousands (Pareto, exponent 0.8).
# Their votes fall within hours of posting, which is where heat is set.

use strict;
use warnings;
use Bench;

our $as_of = '2026-06-01 12:00:00+00';

sub create
{
	my ($dbh, $n) = @_;
	$dbh->do('CREATE EXTENSION IF NOT EXISTS cozi');
	$dbh->do('SELECT setseed(0.5)');
	$dbh->do(
		qq{
		CREATE TABLE posts AS
		SELECT id, title, points, interactions, created_at,
		       cozi.heat(points, created_at + late, '6 hours') AS heat
		FROM (SELECT g::bigint AS id, repeat(md5(g::text), 4) AS title,
		             floor(least(power(random(), -0.8), 50000))::int AS points,
		             floor(random() * 20000)::int AS interactions,
		             timestamptz '$as_of' - random() * interval '90 days' AS created_at,
		             random() * interval '3 hours' AS late
		      FROM generate_series(1, $n) g) p
		ORDER BY created_at});
	$dbh->do('ALTER TABLE posts ADD PRIMARY KEY (id)');
	$dbh->do('CREATE INDEX posts_heat ON posts (heat DESC, id DESC)');
	$dbh->do('CREATE INDEX posts_created_at ON posts (created_at DESC)');
	$dbh->do('CREATE INDEX posts_points ON posts (points DESC)');
	$dbh->do('VACUUM ANALYZE posts');
	# what is asked for is the CPU of one backend
	$dbh->do('SET max_parallel_workers_per_gather = 0');
	return;
}

# A side of Bench::pair: the mean of so many executions, in ms of CPU, so that a
# busy machine does not pass for a slow query.
sub asked
{
	my ($dbh, $sql, $times) = @_;
	$times ||= 1;
	return sub {
		my $began = Bench::cpu($dbh);
		$dbh->selectall_arrayref($sql) for 1 .. $times;
		return (Bench::cpu($dbh) - $began) / $times;
	};
}

1;
