package Policy::Judge;

# Policy/Judge.pm: what a judge of policy_differential.pl asks, as a script of psql.

use strict;
use warnings;
use Exporter 'import';
use List::Util qw(shuffle);
use Policy::Chance;
use Policy::Oracle;
use Policy::World;

our @EXPORT = qw(@tags %dimension judge_script);

our %dimension = (
	iso => [qw(committed repeatable serializable)],
	plan => [qw(simple generic custom)],
	parallel => [qw(on off)],
	layout => \@layouts,
	scan => [qw(any seq index only bitmap)],
	mem => [qw(small large)],
	how => [qw(statement savepoint cursor loop)],
	policy => \@policies);

# Every combination of some dimensions.
sub all_of
{
	my ($x, @others) = @_;
	return {} if !defined $x;
	return map {
		my $rest = $_;
		map {
			{ %$rest, $x => $_ }
		} @{ $dimension{$x} }
	} all_of(@others);
}

# What is asked comes from one deck, and how from another: however few
# questions there are, every mode meets every other.
my (@subjects, @modes, @modes_on_standby);

# When chance has its seed.
sub make_decks
{
	@subjects = all_of(qw(layout policy));
	@modes = (
		(   map {
				{ %$_, how => 'statement' }
			} all_of(qw(iso plan parallel)),
			grep { $_->{parallel} eq 'off' } all_of(qw(iso plan parallel))),
		(   map {
				{ %$_, how => 'savepoint', parallel => chance(0.3) ? 'on' : 'off' }
			} all_of(qw(iso plan))),
		(   map {
				{ %$_, how => $_->{how}, plan => 'simple', parallel => 'off' }
			} grep { $_->{how} =~ /cursor|loop/ } all_of(qw(iso how))));
	@modes_on_standby =
	  grep { $_->{iso} ne 'serializable' && $_->{how} =~ /statement|cursor/ } @modes;
	return;
}

my %isolation = (
	committed => 'READ COMMITTED',
	repeatable => 'REPEATABLE READ',
	serializable => 'SERIALIZABLE');
my %scan = (
	any => [],
	seq => [qw(indexscan indexonlyscan bitmapscan)],
	index => [qw(seqscan bitmapscan)],
	only => [qw(seqscan bitmapscan indexscan)],
	bitmap => [qw(seqscan indexscan indexonlyscan)]);

our @tags;    # what each line of this round's judges is about

sub new_tag
{
	push @tags, {@_};
	return $#tags;
}

sub settings
{
	my ($m) = @_;
	my @set = map { "enable_$_ = off" } @{ $scan{ $m->{scan} } };
	push @set,
	  $m->{parallel} eq 'on'
	  ? (
		'parallel_setup_cost = 0',
		'parallel_tuple_cost = 0',
		'min_parallel_table_scan_size = 0',
		'min_parallel_index_scan_size = 0',
		'max_parallel_workers_per_gather = 2',
		'parallel_leader_participation = ' . pick('off', 'off', 'on'))
	  : 'max_parallel_workers_per_gather = 0';
	push @set, "plan_cache_mode = force_$m->{plan}_plan" if $m->{plan} ne 'simple';
	push @set, q(work_mem = '64kB') if $m->{mem} eq 'small';
	return join ' \; ', map { "SET LOCAL $_" } @set;
}

# A change that a judge makes itself: to rows that no other session touches.
sub change
{
	my ($w, $judge, $v) = @_;
	my $n = defined $v->{n} ? $v->{n} : 105;
	return "SELECT app.act(@{[ int rand 12 ]}, $n, @{[ 8 * (1 + int rand 4) + $judge ]})";
}

# One expression in one transaction, for a while.
sub watch
{
	my ($w, $where, $iso) = @_;
	my %m = (where => $where, how => 'watch', iso => $iso);
	return
		"BEGIN ISOLATION LEVEL $isolation{$iso};\nSET LOCAL ROLE $role{owner};\n"
	  . "SELECT '=', @{[ new_tag(%m) ]}, bad = '', asked, left(bad, 2000) "
	  . "FROM app.watch(@{[ int rand 12 ]}, '@{[ $iso eq 'committed' ? 1 : 0.2 ]} s');\nCOMMIT;\n";
}

# A transaction; one that may meet others in no order is said again if it does.
sub transaction
{
	my ($begin, $body, $end, $may_meet) = @_;
	my $whole =
		"$begin${body}SELECT false AS again \\gset\n$end;\n\\if :ERROR\n\\set again true\n"
	  . "\\endif\n";
	return "\\set again true\n$whole"
	  . "\\if :again\n\\echo !again\n$whole\\endif\n" x ($may_meet ? 4 : 0);
}

# A transaction or two.  deck: where its cards are from; forced: what is not
# left to chance, and takes none.
sub block
{
	my ($w, $judge, $on_standby, $deck, %forced) = @_;
	my @modes_here = $on_standby ? @modes_on_standby : @modes;
	my %m = (
		where => $on_standby ? 'standby' : 'primary',
		%{ %forced ? pick(@modes_here) : deal("$deck modes", @modes_here) }, %forced);
	return transaction(
		"BEGIN ISOLATION LEVEL $isolation{ $m{iso} };\nSET LOCAL ROLE $role{owner};\n",
		"SELECT '=', @{[ new_tag(%m) ]}, bad = '', asked, left(bad, 2000) "
		  . "FROM app.walk(30, @{[ rand ]}, $judge);\n",
		pick('COMMIT', 'ROLLBACK'),
		$m{iso} eq 'serializable') if $m{how} eq 'loop';
	%m = (%m, %{ %forced ? pick(@subjects) : deal("$deck subjects", @subjects) }, %forced);
	$m{scan} ||= deal("$deck $m{layout}", @{ $dimension{scan} });
	$m{mem}  ||= deal("$deck $m{policy}", @{ $dimension{mem} });
	my $t = $policy{ $m{policy} } ? $posts{ $m{layout} } : $kept{ $m{layout} };
	my $plainly = $m{scan} eq 'only' || %forced;
	my $shape = $plainly ? 'all' : pick(qw(all all all feed groups join semi));
	my $filter = $plainly ? { p => 'true', q => 'true' } : random_filter();
	my $two = $m{iso} ne 'committed' && chance(0.7);
	# what makes cozi's side read all posts would make the other read all edges for each,
	# and what makes it parallel would start workers for each of the other's EXISTS: that is
	# planned apart
	my $apart = $m{scan} eq 'seq' || chance($m{parallel} eq 'on' ? 0.9 : 0.2);
	my $prepared = $m{plan} ne 'simple';
	my $seen = question($shape, "app.$t", $filter, sub { 'true' });
	my %literal = (
		map {
			my $v = $_;
			$v->{k} => { map { $_ => quoted($v->{$_}) . "::$_" } @classes }
		} @{ $w->{viewers} });
	my %parameter = (uuid => '$1', bigint => '$2', text => '$3');
	my $said = sub {
		my ($me, $rel) = @_;
		return question($shape, "plain.$t", $filter,
			sub { plain_policy($w, $m{policy}, $_[0], $me, $rel) });
	};
	my $answer = sub { $apart ? 'SELECT plain.answer(' . quoted($_[0]) . ')' : $_[0] };
	my $bare = sub {
		$_[0] =~ s/\bplain\.(?!answer)(\w+)/$w->{edge}{$1} ? $w->{edge}{$1}{rel} : "app.$1"/ger;
	};

	# one comparison; a judge that says it in two statements says the second as a superuser
	my $compare = sub {
		my ($v, %more) = @_;
		my $tag = new_tag(%m, shape => $shape, viewer => $v->{k}, %more);
		my $values = $apart ? quoted($said->($literal{ $v->{k} })) : join ', ',
		  map { $literal{ $v->{k} }{$_} } qw(uuid bigint text);
		my $other = $more{rel} || $more{me};
		my $me = $more{me} || $literal{ $v->{k} };
		return (
			$prepared && !$other
			? "EXECUTE one($values, $tag);\n"
			: verdict($tag, $seen, $answer->($said->($me, $more{rel}))) . ";\n") if !$two;
		my $first =
		  $prepared ? "EXECUTE first \\gset\n" : "SELECT a AS seen FROM ($seen) s(a) \\gset\n";
		my $second =
		  $prepared && !$other
		  ? "EXECUTE second($values, $tag, :'seen');\n"
		  : verdict($tag, "SELECT :'seen'::text[]", $answer->($bare->($said->($me, $more{rel}))))
		  . ";\n";
		return "\\set seen {}\n${first}SET LOCAL ROLE NONE;\n"
		  . "${second}SET LOCAL ROLE $role{ $m{policy} };\n";
	};
	my $begin =
		"BEGIN ISOLATION LEVEL $isolation{ $m{iso} };\n"
	  . settings(\%m)
	  . ";\nSET LOCAL ROLE $role{ $m{policy} };\n";
	my $be = sub { "SELECT app.be($_[0]{k});\n" };
	my @viewers = grep { !%forced || ($_->{degree} || 0) > 1000 } @{ $w->{viewers} };
	my @bodies;

	if ($m{how} eq 'statement')
	{
		for (1 .. ($m{plan} eq 'generic' ? 2 : 1))
		{
			my $body = '';
			for my $v (map { pick(@viewers) } 1 .. 3)
			{
				$body .= $be->($v) . $compare->($v);
				# oracles that are wrong on purpose: the judge must notice
				$body .= $compare->(
					$v,
					wrong => 'ignores blocks',
					rel => { blocked => '(SELECT * FROM plain.blocked WHERE false)' }
				) if $m{policy} =~ /block|view|mixed|restricted|not_following/ && chance(0.12);
				$body .= $compare->(
					$v,
					wrong => 'misses one edge',
					rel => {
							following => "(SELECT * FROM plain.following "
						  . "WHERE $w->{edge}{following}{dst} IS DISTINCT FROM "
						  . quoted(id_of($w, 'person', $w->{author}{class}, 9)) . ')'
					}) if $m{policy} =~ /following|helper|restricted/ && chance(0.2);
				$body .= $compare->(
					$v,
					wrong => 'takes another for the caller',
					me => $literal{ pick(@viewers)->{k} }) if chance(0.04);
				next
				  if !chance(0.05)
				  && !($m{scan} eq 'only'
					|| $m{scan} =~ /index|bitmap/ && $m{policy} =~ /^(following|member|likes)$/);
				$body .=
					"SELECT '?$_';\nEXPLAIN (COSTS OFF) "
				  . ($prepared && $two ? 'EXECUTE first' : $seen)
				  . ";\nSELECT '?';\n"
				  for new_tag(%m);
			}
			push @bodies, $body;
		}
	}
	elsif ($m{how} eq 'savepoint')
	{
		my $v = pick(@viewers);
		my $body = $be->($v) . $compare->($v);
		my @open;
		for my $step (1 .. 6)
		{
			my $what =
			  pick('save', 'save', 'change', 'change', 'back', 'back', 'release', 'become');
			$what = 'save' if !@open && $what =~ /back|release/;
			push(@open, "s$step"), $body .= "SAVEPOINT s$step;\n" if $what eq 'save';
			$body .= change($w, $judge, $v) . ";\n" if $what eq 'change' || $what eq 'save';
			$body .= "ROLLBACK TO $open[-1];\n" if $what eq 'back';
			$body .= 'RELEASE ' . pop(@open) . ";\n" if $what eq 'release';
			# going back to a savepoint brings back its caller, so become $v again
			$v = pick(@viewers) if $what eq 'become';
			$body .= $be->($v) if $what eq 'become' || $what eq 'back';
			$body .= $compare->($v);
		}
		push @bodies, $body;
	}
	else
	{
		for my $v (map { pick(@viewers) } 1 .. 2)
		{
			my $tag = new_tag(%m, shape => 'all', viewer => $v->{k});
			my @sides = (
				"SELECT 'a' AS side, p.id FROM app.$t p WHERE $filter->{p}",
				"SELECT 'b' AS side, b::int AS id FROM ("
				  . $answer->(
					question(
						'all', "plain.$t",
						$filter, sub { plain_policy($w, $m{policy}, 'p', $literal{ $v->{k} }) }))
				  . ') q(a), unnest(a) b');
			my @changes = map { change($w, $judge, $v) } $on_standby ? () : 1 .. 4;
			push @bodies,
				$be->($v)
			  . "SELECT '=', $tag, a = b, cardinality(a), CASE WHEN a <> b THEN left(concat(a, "
			  . "' ', b), 2000) END FROM app.by_cursor("
			  . quoted(join ' UNION ALL ', shuffle @sides)
			  . ", @{[ pick(1, 7, 40, 150) ]}, ARRAY["
			  . join(', ', map { quoted($_) } @changes)
			  . "]::text[]);\n";
		}
	}

	my $before = '';
	if ($prepared)
	{
		my $other = $apart ? 'SELECT plain.answer($1)' : $said->(\%parameter);
		my @types = $apart ? ('text') : qw(uuid bigint text);
		my $n = @types;
		$before .=
			'PREPARE one('
		  . join(', ', @types, 'int') . ') AS '
		  . verdict('$' . ($n + 1), $seen, $other) . ";\n"
		  if !$two;
		$before .= "PREPARE first AS SELECT a AS seen FROM ($seen) s(a);\n";
		$before .=
			'PREPARE second('
		  . join(', ', @types, 'int', 'text') . ') AS '
		  . verdict('$' . ($n + 1), 'SELECT $' . ($n + 2) . '::text[]', $bare->($other)) . ";\n"
		  if $two;
	}
	my $script = $before;
	for my $body (@bodies)
	{
		my $end = $m{how} eq 'statement' || chance(0.5) ? 'COMMIT' : 'ROLLBACK';
		$script .= transaction($begin, $body, $end, $on_standby || $m{iso} eq 'serializable');
	}
	$script .= "DEALLOCATE ALL;\n" if $prepared;
	return $script;
}

# What a judge asks in a round of so many seconds, and in so many blocks at least.
sub judge_script
{
	my ($w, $judge, $on_standby, $seconds, $least) = @_;
	make_decks() unless @modes;
	my $script =
		"SELECT clock_timestamp() + interval '$seconds s' AS until \\gset\n"
	  . "SET statement_timeout = '250s';\n\\set VERBOSITY verbose\n";
	my $where = $on_standby ? 'standby' : 'primary';
	$script .= watch($w, $where, $judge == 1 ? pick('repeatable', 'serializable') : 'committed');
	# more targets than small memory holds, and as many authors to ask about
	$script .= block(
		$w, $judge, $on_standby, '',
		how => 'statement',
		mem => 'small',
		scan => 'seq',
		policy => $_) for 'following', 'not_following';
	$script .= block(
		$w, $judge, $on_standby, '',
		how => 'statement',
		scan => 'index',
		policy => 'following');
	for my $i (1 .. 30 * $seconds)
	{
		$script .= "SELECT clock_timestamp() > :'until' AS over \\gset\n\\if :over\n\\q\n\\endif\n"
		  if $i > $least;
		# cards that may never be played are from another deck
		$script .= block($w, $judge, $on_standby, $i > $least ? "more $where" : $where);
	}
	return $script;
}

1;
