# Counters under load: many clients like one post, one client likes many, and a
# bulk insert.  Every figure is of a counter that afterwards equals a recount.
use strict;
use warnings;
use lib 'bench';
use Bench;
use Time::HiRes qw(time);

my $dbh = Bench::connect();
my $quick = $ENV{COZI_BENCH_QUICK};
$dbh->do('CREATE EXTENSION cozi');

for my $t (qw(bare counted rowed))
{
	$dbh->do("CREATE TABLE likes_$t (post bigint, liker bigint, PRIMARY KEY (post, liker))");
}
$dbh->do("SELECT cozi.create_counter('like_counts', 'likes_counted', 'post')");

# what a counter cache is by hand
$dbh->do('CREATE TABLE counts_rowed (post bigint PRIMARY KEY, n bigint NOT NULL)');
$dbh->do(
	'CREATE FUNCTION count_like() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO counts_rowed AS c VALUES (NEW.post, 1)
		ON CONFLICT (post) DO UPDATE SET n = c.n + 1;
		RETURN NULL;
	END $$');
$dbh->do(
	'CREATE TRIGGER count AFTER INSERT ON likes_rowed FOR EACH ROW EXECUTE FUNCTION count_like()');

my $liker = "\\set liker random(1, 1000000000000)\n";
my %script =
  map { $_ => Bench::script($_, "${liker}INSERT INTO likes_$_ VALUES (1, :liker);\n") }
  qw(bare counted rowed);

sub likes
{
	my ($which, $clients) = @_;
	return Bench::pgbench(
		files => [ $script{$which} ],
		clients => $clients,
		seconds => $quick ? 2 : 4,
		protocol => 'prepared');
}

sub exact
{
	my ($n) = $dbh->selectrow_array("SELECT count(*) FROM cozi.verify_counter('like_counts')");
	die "the counter differs from a recount in $n keys\n" if $n;
	return;
}

sub side { my ($which, $clients) = @_; return [ $which, sub { likes($which, $clients) } ]; }

Bench::title('16 clients like one post, each like a transaction, durable commits, not preloaded');
Bench::pair(
	'against a counter kept by a row trigger',
	runs => 5,
	more => 1,
	unit => 'likes/s',
	floor => 4,
	new => side('counted', 16),
	old => side('rowed', 16));
Bench::pair(
	'against the bare insert',
	runs => 5,
	more => 1,
	unit => 'likes/s',
	new => side('counted', 16),
	old => side('bare', 16));
exact();

Bench::title('one client, commits that do not wait for the disk');
$dbh->do('ALTER SYSTEM SET synchronous_commit = off');
$dbh->do('SELECT pg_reload_conf()');
Bench::pair(
	'against a counter kept by a row trigger',
	runs => 5,
	more => 1,
	unit => 'likes/s',
	new => side('counted', 1),
	old => side('rowed', 1));
Bench::pair(
	'against the bare insert',
	runs => 5,
	more => 1,
	unit => 'likes/s',
	new => side('counted', 1),
	old => side('bare', 1));
exact();

my $from = 0;

sub bulk
{
	my ($which) = @_;
	$from += 100_000;
	my $t = time;
	$dbh->do("INSERT INTO likes_$which SELECT 1 + g % 5000, $from + g
		FROM generate_series(1, 100000) g");
	return (time - $t) * 1000;
}

Bench::title('100,000 likes of 5,000 posts in one statement');
for my $old (qw(rowed bare))
{
	Bench::pair(
		$old eq 'rowed' ? 'against a row trigger' : 'against the bare insert',
		runs => 5,
		new => [ 'counted', sub { bulk('counted') } ],
		old => [ $old, sub { bulk($old) } ]);
}
exact();
