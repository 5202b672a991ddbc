# Policies by cozi's predicates against the ways they are written otherwise:
# 1,000,000 posts of 200,000 authors, a role that does not own the table, CPU
# time of the backend.
use strict;
use warnings;
use Bench;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);

my $dbh = Bench::connect();
my $secret = 'a secret of the bench, with 32 bytes or more';
my $posts = $ENV{COZI_BENCH_POSTS} || 1_000_000;
my $authors = $posts / 5;

$dbh->do($_) for (
	'CREATE EXTENSION cozi',
	"SELECT cozi.add_secret('$secret')",
	'CREATE FUNCTION person(n int) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN md5(n::text)::uuid',
	"CREATE TABLE posts AS SELECT g AS id, person((g * 7919::bigint % $authors)::int) AS author, timestamptz '2026-01-01' + g * interval '1 second' AS created_at FROM generate_series(1, $posts) g",
	'CREATE INDEX ON posts (author, created_at DESC)',
	'CREATE INDEX ON posts (created_at DESC)',
	'CREATE TABLE follows (follower uuid, followee uuid)',
	"INSERT INTO follows SELECT person(-n), person(g * ($authors / n)) FROM (VALUES (10), (1000), ($authors / 2)) v(n), generate_series(0, n - 1) g",
	'ALTER TABLE follows ADD PRIMARY KEY (follower, followee)',
	"SELECT cozi.register_edge('following', 'follows', 'follower', 'followee')",
	'CREATE SCHEMA auth',
	q{CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
	  SELECT coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
	                  nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$},
	q{CREATE FUNCTION helper(author uuid) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
	  BEGIN RETURN author = auth.uid(); END $$},
	'CREATE ROLE app',
	'GRANT USAGE ON SCHEMA cozi, auth TO app',
	'GRANT SELECT ON posts, follows TO app',
	'CREATE POLICY p ON posts USING (false)',
	'ALTER TABLE posts ENABLE ROW LEVEL SECURITY',
	'VACUUM ANALYZE');

sub token
{
	my ($sub) = @_;
	my $part = encode_base64url('{"alg":"HS256"}') . '.' . encode_base64url(sprintf('{"sub":"%s","exp":%d}', $sub, time + 3600));
	return $part . '.' . encode_base64url(hmac_sha256($part, $secret));
}

my $pid = $dbh->{pg_pid};
sub cpu
{
	open(my $stat, '<', "/proc/$pid/schedstat") or die "/proc/$pid/schedstat: $!";
	return (split ' ', scalar <$stat>)[0] / 1e6;
}

# Milliseconds of CPU a query takes under a policy (none: as the owner), as
# somebody: repeated where it is short, after one that warms up.
sub under
{
	my ($policy, $somebody, $query, $times) = @_;
	my ($sub) = $dbh->selectrow_array("SELECT person($somebody)");
	$dbh->do("ALTER POLICY p ON posts USING ($policy)") if $policy;
	$dbh->begin_work;
	$dbh->do('SET LOCAL max_parallel_workers_per_gather = 0');
	$dbh->do('SELECT cozi.login(?)', undef, token($sub));
	$dbh->do("SELECT set_config('request.jwt.claims', ?, true)", undef, qq({"sub":"$sub","role":"app"}));
	$dbh->do('SET LOCAL ROLE app') if $policy;
	$dbh->selectall_arrayref($query);
	my $before = cpu();
	$dbh->selectall_arrayref($query) for 1 .. $times;
	my $took = (cpu() - $before) / $times;
	$dbh->rollback;
	return $took;
}

# --- ownership ------------------------------------------------------------------

my $count = 'SELECT count(*) FROM posts';
my ($me) = $dbh->selectrow_array('SELECT person(5)');
sub owner { my ($name, $policy, $times, %o) = @_;
	Bench::pair("is_owner, count(*), $name", runs => 3, unit => 'ms', %o,
		new => [ 'is_owner', sub { under('cozi.is_owner(author)', 5, $count, 200) } ],
		old => [ $name, sub { under($policy, 5, $policy ? $count : "$count WHERE author = '$me'", $times) } ]); return; }

Bench::title("whose rows: $posts posts, CPU time");
owner('no policy, WHERE', undef, 200);
owner('a literal in the policy', "author = '$me'", 200);
owner('plpgsql helper', 'helper(author)', 1, floor => 1000);
owner('auth.uid() = author', 'auth.uid() = author', 200);
owner('(select auth.uid()) = author', '(SELECT auth.uid()) = author', 200);

# --- the feed -------------------------------------------------------------------

my %as = (
	'EXISTS' => 'EXISTS (SELECT FROM follows WHERE follower = cozi.uid() AND followee = author)',
	'IN' => 'author IN (SELECT followee FROM follows WHERE follower = cozi.uid())',
	'ANY(array)' => 'author = ANY (ARRAY(SELECT followee FROM follows WHERE follower = cozi.uid()))');
foreach my $edges (10, 1000, $authors / 2)
{
	Bench::title("whom they follow: $edges followees, CPU time");
	foreach my $query ([ 'feed', 'SELECT * FROM posts ORDER BY created_at DESC LIMIT 50' ], [ 'count(*)', $count ])
	{
		foreach my $form (sort keys %as)
		{
			Bench::pair("is_following, $query->[0], $form", runs => 3, unit => 'ms',
				new => [ 'is_following', sub { under('cozi.is_following(author)', -$edges, $query->[1], 2) } ],
				old => [ $form, sub { under($as{$form}, -$edges, $query->[1], 1) } ]);
		}
	}
}
