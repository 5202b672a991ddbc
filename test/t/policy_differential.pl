# The predicates against plain EXISTS: random edges, posts and viewers, while
# others follow, block, join and post.  What a viewer sees under cozi's
# policies is what the same query over the same tables says without them, in
# the same snapshot: always.
#
# COZI_SEED repeats the schemas, the rows and the questions of a run; how the
# sessions interleave is left to the machine.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IPC::Run   ();
use List::Util qw(min sum0 uniq);
use Policy::Chance;
use Policy::Judge;
use Policy::Oracle;
use Policy::Schema;
use Policy::World;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $long = $ENV{COZI_LONG};
my $run_for = $long ? 600 : 13.5;    # seconds of judging in all
my $round_for = $long ? 12 : 4.5;    # ... and in a round: three at least
my $least = 18;                      # blocks a judge goes through, however slow the machine
my $seed = defined $ENV{COZI_SEED} ? $ENV{COZI_SEED} : int(rand(2**31));
note("COZI_SEED=$seed");
my $dir = PostgreSQL::Test::Utils::tempdir();

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--no-locale', '-E', 'UTF8' ]);
$primary->append_conf('postgresql.conf', <<'END');
fsync = off
max_connections = 40
max_prepared_transactions = 4
max_pred_locks_per_transaction = 1024
max_worker_processes = 16
max_parallel_workers = 8
autovacuum_naptime = 1s
jit = off
deadlock_timeout = 50ms
max_standby_streaming_delay = -1
hot_standby_feedback = on
wal_receiver_status_interval = 1s
END
$primary->start;
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
srand($seed);    # now: the servers' ports were by chance too

$primary->safe_psql(
	'postgres',
	'CREATE ROLE owner; ' . join ' ',
	map { "CREATE ROLE $_;" } values %role);

# Judges have two of eight targets for themselves, so that nobody waits for
# them.  Some sleep before they end, so that transactions end in another order
# than they began.
my $writers_sql = <<'END';
\set v random(101, 116)
\set t random(1, 40)
\if random(1, 10) <= 3
\set t random(1, 6900)
\endif
\set t :t / 8 * 8 + 2 + :t % 6
\set u 1 + random(0, 4) * 8 + 2
\set a random(0, 16)
\set b random(0, 16)
\set c random(0, 11)
\set kind random(1, 100)
\set ms random_exponential(0, 200, 8)
\if :kind <= 58
SELECT app.act(:a, :v, :t);
\elif :kind <= 66
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT app.act(:a, :v, :t);
SELECT count(*) FROM app.following_rows;
SELECT app.act(:c, :v, :u);
COMMIT;
\elif :kind <= 78
BEGIN;
SELECT app.act(:a, :v, :t);
SELECT app.act(:c, :v, :u);
\sleep :ms ms
ROLLBACK;
\elif :kind <= 99
BEGIN;
SELECT app.act(:a, :v, :t);
SAVEPOINT a;
SELECT app.act(:b, :v, :u);
SAVEPOINT b;
SELECT app.act(:c, :v, :t);
ROLLBACK TO a;
SELECT app.act(:c, :v, :u);
\sleep :ms ms
COMMIT;
\else
SELECT app.act_often(:v, :t);
\endif
END
append_to_file("$dir/writers.sql", $writers_sql);

sub set_up
{
	my ($w) = @_;
	my $sql = schema($w);
	$primary->safe_psql('postgres', "CREATE DATABASE $w->{db}");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr($w->{db}) ],
		'<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout(240));
	like($out, qr/^all is set up$/m, "$w->{db}: a world") or BAIL_OUT($err);
	$primary->safe_psql($w->{db}, 'ANALYZE');
	$primary->wait_for_catchup($standby);
	return;
}

sub judge
{
	my ($w, $node, $judge) = @_;
	# files, not pipes: nobody reads while another is waited for
	my $j = { map { $_ => "$dir/$w->{db}_$judge.$_" } qw(sql out err) };
	$j->{on_standby} = $node == $standby;
	append_to_file($j->{sql}, judge_script($w, $judge, $j->{on_standby}, $round_for, $least));
	$j->{run} =
	  IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($w->{db}), '-f', $j->{sql} ],
		'<', \undef, '>', $j->{out}, '2>', $j->{err}, IPC::Run::timeout(900));
	return $j;
}

my (%cover, %wrong, %noticed, %plans, %share, @differ, @errors);
my ($compared, $asked, $again, $acts) = (0, 0, 0, 0);

# An error that the server raises however the policies are written, and what
# follows it in the same transaction: transactions that meet, and on the standby
# a judge that meets what is replayed there.  A deadlock on the primary is none,
# since judges and writers write different rows.
sub is_lawful
{
	my ($error, $on_standby) = @_;
	return 1 if $error =~ /^psql:\S+ ERROR:  (40001|25P02|3B001): /;
	return $on_standby && $error =~ /^psql:\S+ ERROR:  40P01: /;
}

sub read_lines
{
	my ($w, $j) = @_;
	my ($explained, $plan);
	for my $line (split /\n/, slurp_file($j->{out}))
	{
		if ($line =~ /^\?(\d*)$/)
		{
			$plans{$_}++
			  for defined $explained
			  ? grep { $plan =~ /$_/ } 'Gather', 'edge_targets_', 'Index Only Scan',
			  'Bitmap Heap Scan', 'Subplans Removed', 'uid'
			  : ();
			($explained, $plan) = ($1 eq '' ? undef : $1, '');
		}
		elsif ($line eq '!again') { $again++ }
		elsif ($line =~ /^=\|(\d+)\|([tf])\|(\d+)\|(.*)/)
		{
			my ($tag, $equal, $seen, $detail) = ($1, $2 eq 't', $3, $4);
			my $m = $tags[$tag];
			if ($m->{wrong})
			{
				$wrong{ $m->{wrong} }++;
				$noticed{ $m->{wrong} }++ if !$equal;
				next;
			}
			if ($m->{how} =~ /loop|watch/) { $asked += $seen }
			else
			{
				$compared++;
				$share{ !$seen ? 'none' : $seen < $w->{rows} ? 'some' : 'all' }++
				  if $m->{shape} eq 'all';
			}
			for my $x (keys %$m)
			{
				$cover{"$x $m->{$x}, $_ $m->{$_}"}++ for keys %$m;
			}
			next if $equal;
			push @differ,
				"$w->{db}: "
			  . join(' ', map { "$_=" . (defined $m->{$_} ? $m->{$_} : '') } sort keys %$m)
			  . ": $detail";
			push @differ, grep { /\b$tag\b/ } split /\n/, slurp_file($j->{sql}) if @differ == 1;
		}
		elsif (defined $explained) { $plan .= "$line\n" }
	}
	push @errors, grep { !is_lawful($_, $j->{on_standby}) } split /^(?=psql:)/m,
	  slurp_file($j->{err});
	return;
}

# One that is wrong in looking a moment later, in the next statement: that
# must be noticed too, or nothing changes while the judges look.
sub noticed_later
{
	my ($w) = @_;
	my $v = $w->{viewers}[8];
	my $me = { map { $_ => quoted($v->{$_}) . "::$_" } @classes };
	my $question = sub { question('all', $_[0], { p => 'true' }, $_[1]) };
	my $seen = $question->("app.$posts{plain}", sub { 'true' });
	my $said =
	  $question->("plain.$posts{plain}", sub { plain_policy($w, 'own_or_following', 'p', $me) });
	for (1 .. 20)
	{
		my $out = $primary->safe_psql($w->{db},
				"BEGIN; SET LOCAL ROLE $role{own_or_following}; SELECT FROM app.be($v->{k});"
			  . "SELECT a AS seen FROM ($seen) s(a) \\gset\nSELECT pg_sleep(0.2) \\g /dev/null\n"
			  . " SELECT a = :'seen'::text[] FROM ($said) s(a); COMMIT");
		$wrong{'looks a moment later'}++;
		return $noticed{'looks a moment later'}++ if $out =~ /^f$/m;
	}
}

# Three transactions: the last to begin ends first, then the second, and the
# first stays.  The snapshots before and after the second ends have the same
# bounds, and only what is between tells them apart.
my $out_of_order = 0;

sub out_of_order
{
	my ($w) = @_;
	$out_of_order++;
	my ($v, $t) = ($w->{viewers}[0], 39);
	$primary->safe_psql($w->{db}, $_)
	  for (
		"SELECT app.act(2, $v->{n}, $t)",
		"BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'first'",
		"BEGIN; SELECT app.act(0, $v->{n}, $t); PREPARE TRANSACTION 'second'",
		'SELECT pg_current_xact_id()');
	$primary->wait_for_catchup($standby);
	my @stares = map {
		my $s = { node => $_, out => "$dir/stare_" . $_->name };
		$s->{run} = IPC::Run::start(
			[
				'psql', '-XAtq', '-d', $_->connstr($w->{db}),
				'-c', "SET ROLE $role{owner}",
				'-c', "SELECT 'stared', * FROM app.stare($v->{k}, $t)"
			],
			'<',
			\undef,
			'>',
			$s->{out},
			IPC::Run::timeout(120));
		$s;
	} $primary, $standby;
	# it holds that lock once it has looked
	$_->{node}->poll_query_until($w->{db},
		"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory'")
	  for @stares;
	$primary->safe_psql($w->{db}, "COMMIT PREPARED 'second'");
	for my $s (@stares)
	{
		$s->{run}->finish;
		is(slurp_file($s->{out}),
			"stared|1|\n", 'transactions that end out of order, on the ' . $s->{node}->name);
	}
	$primary->safe_psql($w->{db}, "ROLLBACK PREPARED 'first'");
}

my $began = time;
my $round = 0;
while ($round < 3 || $round * $round_for < $run_for && time - $began < 3 * $run_for)
{
	my $w = new_world(++$round);
	@tags = ();
	set_up($w);
	out_of_order($w) if !$out_of_order && $w->{family} ne 'text';    # texts are not remembered
	my @said = map { "$dir/$w->{db}_writers.$_" } qw(out err);
	my $writers = IPC::Run::start(
		[
			'pgbench', '-n', '-c', 6, '-j', 1, '-R', 50, '-T', 600, '--max-tries', 20, '-f',
			"$dir/writers.sql", '-d', $primary->connstr($w->{db})
		],
		'<',
		\undef,
		'>',
		$said[0],
		'2>',
		$said[1],
		IPC::Run::timeout(600));
	my @judges = (judge($w, $primary, 0), judge($w, $primary, 1), judge($w, $standby, 2));
	for my $j (@judges)
	{
		$j->{run}->finish;
		read_lines($w, $j);
	}
	noticed_later($w) if !$noticed{'looks a moment later'};
	ok($writers->pumpable, "$w->{db}: others wrote all along") or diag(slurp_file($said[1]));
	$writers->kill_kill(grace => 5);
	$acts += $primary->safe_psql($w->{db}, 'SELECT last_value FROM app.acts');
	$primary->safe_psql('postgres', "DROP DATABASE $w->{db} WITH (FORCE)");
	last if @differ || @errors;
}

note(   "$round worlds, $compared questions compared, $asked predicates in loops, "
	  . "$again transactions said again, $acts changes by others or between, in "
	  . (time - $began)
	  . ' s');
note('plans with ' . join ', ', map { "$_: $plans{$_}" } sort keys %plans);
is(scalar @differ, 0, 'cozi and plain SQL agree')
  or
  diag(join "\n", "COZI_SEED=$seed", map { substr $_, 0, 4000 } @differ[ 0 .. min(9, $#differ) ]);
is(scalar @errors, 0, 'no question raises an error')
  or diag(join "\n", "COZI_SEED=$seed", @errors[ 0 .. min(9, $#errors) ]);
cmp_ok($compared, '>=', 600, "$compared questions were compared");
cmp_ok($asked, '>=', 1000, "$asked predicates in loops");
cmp_ok($acts, '>=', 500, "while there were $acts changes");
is( join(' ',
		grep { !$noticed{$_} } 'ignores blocks',
		'misses one edge',
		'takes another for the caller',
		'looks a moment later'),
	'',
	'an oracle that is wrong is noticed');
note("an oracle that $_: differs $noticed{$_} times of $wrong{$_}") for sort keys %noticed;
my $viewed = sum0(values %share);
cmp_ok(
	$share{some}, '>=',
	$viewed / 4,
	"viewers saw some rows, not all, $share{some} times of $viewed");

my @pairs = (
	[qw(iso plan)], [qw(iso parallel)], [qw(plan parallel)], [qw(layout policy)],
	[qw(layout scan)], [qw(iso how)], [qw(mem policy)]);
my @missing;
for my $pair (@pairs)
{
	my ($x, $y) = @$pair;
	for my $a (uniq @{ $dimension{$x} })
	{
		push @missing, grep { !$cover{$_} } map { "$x $a, $y $_" } uniq @{ $dimension{$y} };
	}
}
push @missing, grep { !$cover{$_} } map {
	my $iso = $_;
	map { "where standby, $_" } "iso $iso"
} qw(committed repeatable);
push @missing, grep { !$cover{$_} } map { "where standby, $_" } 'parallel on', 'how cursor',
  'plan generic', map { "policy $_" } @policies;
is(join("\n", @missing), '', 'every mode met every other');
is( join("\n",
		grep { !$plans{$_} } 'Gather',
		'edge_targets_',
		'Index Only Scan',
		'Bitmap Heap Scan',
		'uid'),
	'',
	'the questions were answered by every kind of plan');

$standby->stop;
$primary->stop;
done_testing();
