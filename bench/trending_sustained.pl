# Ten minutes of votes at a rate that the worker sustains: the sizes of every relation
# and index of a board at minute 2 and at minute 10.
# conf: shared_preload_libraries = 'cozi'
use strict;
use warnings;
use lib 'bench';
use Bench;

my $dbh = Bench::connect();
my $minute = $ENV{COZI_BENCH_QUICK} ? 6 : 60;
my $rate = $ENV{COZI_BENCH_RATE} || 300;
my $items = 20_000;
$dbh->do('CREATE EXTENSION cozi');
$dbh->do('CREATE TABLE votes (post bigint, voter bigint, value smallint NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now())');
$dbh->do("INSERT INTO votes SELECT g, 0, 1, now() FROM generate_series(1, $items) g");
$dbh->do("SELECT cozi.create_board('hot', 'votes', 'post', 'value')");
$dbh->do('VACUUM ANALYZE');

sub sizes
{
	my $rows = $dbh->selectall_arrayref(q{SELECT c.oid::regclass::text, pg_relation_size(c.oid)
		FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
		WHERE c.relkind IN ('r', 'i')
			AND coalesce(i.indrelid, c.oid) IN ('hot'::regclass, 'cozi.kept_state'::regclass,
				'cozi.kept_delta'::regclass)});
	return map { $_->[0] => $_->[1] } @$rows;
}

sub votes
{
	my ($seconds) = @_;
	my $tps = Bench::pgbench(
		files => [
			Bench::script(
				'vote',
				"\\set post random_exponential(1, $items, 5)\n\\set voter random(1, 1000000000)\n"
				  . "INSERT INTO votes VALUES (:post, :voter, 1);\n")
		],
		clients => 8,
		seconds => $seconds,
		protocol => 'prepared',
		args => [ '-R', $rate ]);
	my ($pending) = $dbh->selectrow_array('SELECT pending FROM cozi.boards');
	return ($tps, $pending);
}

my ($early, undef) = votes(2 * $minute);
my %early = sizes();
my ($tps, $pending) = votes(8 * $minute);
my %late = sizes();
printf "\n%.0f votes/s asked, %.0f cast, %d of them not folded at the end; %d items\n", $rate,
  $tps, $pending, $items;
printf "%-40s %14s %14s %s\n", 'relation', 'minute 2', 'minute 10', 'growth';
for my $relation (sort keys %late)
{
	my ($before, $after) = map { $_ / 1024 } $early{$relation} || 0, $late{$relation};
	printf "%-40s %11.0f kB %11.0f kB %s\n", $relation, $before, $after,
	  $before ? sprintf('%.2fx', $after / $before) : '';
}
my ($wrong) = $dbh->selectrow_array(q{SELECT count(*) FROM cozi.verify_board('hot')});
die "hot differs from a recount in $wrong items\n" if $wrong;
