# The predicates against plain EXISTS: random edges, posts and viewers, while
# others follow, block, join and post.  What a viewer sees under cozi's
# policies is what the same query over the same tables says without them, in
# the same snapshot: always.
#
# COZI_SEED repeats the schemas, the rows and the questions of a run; how the
# sessions interleave is left to the machine.
use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use IPC::Run    ();
use List::Util  qw(first min shuffle sum0 uniq);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

my $long = $ENV{COZI_LONG};
my $run_for = $long ? 600 : 13.5;    # seconds of judging in all
my $round_for = $long ? 12 : 4.5;    # ... and in a round: three at least
my $least = 25;                      # blocks a judge goes through, however slow the machine
my $seed = defined $ENV{COZI_SEED} ? $ENV{COZI_SEED} : int(rand(2**31));
note("COZI_SEED=$seed");

# --- chance -------------------------------------------------------------------

sub pick   { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }

# The next card of a shuffled deck: by chance, and each as often as the others.
my %decks;

sub deal
{
	my ($name, @cards) = @_;
	$decks{$name} = [ shuffle @cards ] unless $decks{$name} && @{ $decks{$name} };
	return shift @{ $decks{$name} };
}

my $dir = PostgreSQL::Test::Utils::tempdir();

# --- the servers --------------------------------------------------------------

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--no-locale', '-E', 'UTF8' ]);
$primary->append_conf('postgresql.conf', <<'END');
fsync = off
max_connections = 40
max_prepared_transactions = 4
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

# --- policies -----------------------------------------------------------------

# What a policy says, in words that are translated twice: into cozi's
# predicates, and into plain SQL.  Each has a role of its own, but for what
# protect() makes.
my %policy = (
	owner => 'own',
	following => 'following',
	member => 'member',
	not_blocked => 'NOT blocked',
	blocked_by => 'blocked_by',
	likes => 'likes',
	view => 'view',
	view_without_group => 'view_without_group',
	own_or_following => 'own OR following',
	following_and_member => 'following AND member AND NOT blocked',
	not_following => 'NOT following AND NOT blocked_by',
	mixed => '(member OR likes OR own) AND NOT blocked AND NOT blocked_by',
	view_and_not_likes => 'view AND NOT likes',
	by_name => 'by_name',
	helper => 'helper',
	restricted => '(own OR following) AND NOT blocked_by',
	protect => undef);
my @policies = sort keys %policy;
my %role = map { $policies[$_] => "viewer_$_" } 0 .. $#policies;
$primary->safe_psql(
	'postgres',
	'CREATE ROLE owner; ' . join ' ',
	map { "CREATE ROLE $_;" } values %role);

my @layouts = qw(plain hash range);
my %posts = (map { $_ => "posts_$_" } @layouts);
my %kept = (map { $_ => "kept_$_" } @layouts);    # what protect() is called for

# --- a world: people, edges and posts of some types ---------------------------

my %types = (
	uuid => [ 'uuid', 'uuid', 'app.id_uuid' ],
	bigint => [ 'bigint', 'int', 'smallint', 'app.id_int' ],
	text => [ 'text', 'varchar', 'app.id_text' ]);
my @classes = sort keys %types;

sub quoted { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'NULL' }

sub uuid_of { return md5_hex($_[0]) =~ s/^(.{8})(.{4})(.{4})(.{4})/$1-$2-$3-$4-/r }

# Person, group or tag number n as a value of that class.
sub id_of
{
	my ($w, $what, $class, $n) = @_;
	return undef if !defined $n;
	return uuid_of("$what $n") if $class eq 'uuid';
	return ($n - 20) * $w->{scale} if $class eq 'bigint';
	return subject_of($w, $n) if $what eq 'person';
	return "$what number $n";
}

# What the tokens call a person; now and then so long that it is compressed.
sub subject_of
{
	my ($w, $n) = @_;
	return id_of($w, 'person', $w->{family}, $n) if $w->{family} ne 'text';
	return $n % 50 == 7 ? 'x' x 2500 . $n : pick_word($n) . $n;
}

sub pick_word { return ('ann-', 'Ann-', "o'neill ", "z\xc3\xb6e ")[ $_[0] % 4 ] }

sub new_world
{
	my ($round) = @_;
	my $w = {
		db => "round_$round",
		people => pick(7000, 9000),
		popular => 40,
		groups => 144,
		tags => 144
	};
	my $family = $w->{family} = deal('family', @classes);
	my @of_people = uniq($family, 'text');

	# The same class for all that is compared; whom a caller is in an edge may be another.
	my $column = sub {
		my ($class) = @_;
		return { class => $class, type => deal("type $class", @{ $types{$class} }) };
	};
	$w->{author} = $column->($family);
	$w->{grp} = $column->(deal('group', @classes));
	$w->{tag} = $column->(deal('tag', @classes));
	my %target = (
		following => $w->{author},
		member => $w->{grp},
		blocked => $w->{author},
		likes => $w->{tag});
	for my $name (sort keys %target)
	{
		my $class = $name eq 'blocked' ? $family : deal("caller $family", @of_people);
		my $kind = deal('index', 'primary key', 'unique', 'longer', 'backwards');
		$w->{edge}{$name} = {
			rel => "app.${name}_rows",
			kind => $kind,
			unique => $kind eq 'primary key' || $kind eq 'unique',
			nulls => $kind ne 'primary key',
			parts => deal('edge partitions', '', '', 'src', 'dst'),
			both_ways => chance(0.5),
			src => pick('src', '"From"'),
			dst => pick('dst', '"To"'),
			from => $column->($class),
			to => $column->($target{$name}{class})
		};
	}
	$w->{edge}{likes}{name} = pick('likes', 'Likes it', q(he's));

	my @numbers = grep { /int/ } map { $_->{type} } $w->{author}, $w->{grp}, $w->{tag},
	  map { ($_->{from}, $_->{to}) } values %{ $w->{edge} };
	$w->{scale} = (grep { /small/ } @numbers) ? 1 : (grep { !/big/ } @numbers) ? 230_000 : 10**14;

	$w->{visibility} = deal('visibility', 'text', 'varchar', 'smallint', 'app.visibility');
	my @words = $w->{visibility} eq 'smallint'
	  ? (1 .. 4, 0, 5)
	  : (
		qw(public followers group private),
		$w->{visibility} eq 'app.visibility' ? 'odd' : ('odd', 'PUBLIC', ''));
	@{ $w->{word} }{qw(public followers group)} = map { quoted($_) } @words;
	$w->{words} = [ @words, @words[ 0 .. 3 ], @words[ 0 .. 2 ], undef ];
	$w->{protect} = deal('protect', 'grp', 'grp', 'visibility', 'owner');
	note(
		join ' ',
		"$w->{db}: subjects are $family;",
		'author',
		$w->{author}{type},
		'grp',
		$w->{grp}{type},
		'tag',
		$w->{tag}{type},
		'visibility',
		$w->{visibility},
		'protect by',
		$w->{protect},
		map {
			my $e = $w->{edge}{$_};
			"$_ ($e->{from}{type}, $e->{to}{type}) $e->{kind}"
			  . ($e->{parts} && " by $e->{parts}")
			  . ($e->{both_ways} ? ' and back' : '')
		} sort keys %{ $w->{edge} });
	viewers($w);
	return $w;
}

# Who asks: people with so many targets, nobody, and subjects of other types.
sub viewers
{
	my ($w) = @_;
	my @degrees = (
		0, 1, 2, 20, 63, 64, 65, 66, 127, 200,
		300 + int rand 300,
		1000 + int rand 100,
		1500, 2500,
		5001 + int rand 20,
		5500 + int rand 1000);
	my $family = $w->{family};
	my @viewers;
	for my $i (0 .. $#degrees)
	{
		my $n = 101 + $i;
		my $subject = subject_of($w, $n);
		push @viewers,
		  {
			n => $n,
			degree => $degrees[$i],
			subject => $subject,
			$family => id_of($w, 'person', $family, $n),
			text => $subject
		  };
	}
	push @viewers, {}, {}, { subject => 'odd one', text => 'odd one' };
	my $one = $viewers[9];
	push @viewers,
	  { subject => uc $one->{subject}, text => uc $one->{subject}, uuid => $one->{uuid} }
	  if $family eq 'uuid';
	push @viewers, map { { subject => $_, text => $_ } } "0$one->{subject}", '99999999999999999999'
	  if $family eq 'bigint';
	push @viewers, { subject => '9999999999', text => '9999999999', bigint => '9999999999' }
	  if $family eq 'bigint';
	push @viewers,
	  { subject => uuid_of('stranger'), text => uuid_of('stranger'), uuid => uuid_of('stranger') };
	$viewers[$_]{k} = $_ for 0 .. $#viewers;
	$w->{viewers} = \@viewers;
}

# Somebody to follow, block or read: often one of the popular.
sub somebody
{
	my ($w) = @_;
	return 1 + int rand(chance(0.6) ? $w->{popular} : $w->{people});
}

# Rows of an edge: pairs of numbers, with what its table allows.
sub pairs
{
	my ($w, $name) = @_;
	my $e = $w->{edge}{$name};
	my $n = $name eq 'member' ? $w->{groups} : $name eq 'likes' ? $w->{tags} : $w->{people};
	my @rows;
	for my $v (grep { defined $_->{n} } @{ $w->{viewers} })
	{
		my $degree = $name eq 'following' ? $v->{degree} : pick(0, 3, 10, 30, 90);
		my @all =
		  $degree < $n / 4
		  ? uniq(map { 1 + int rand(chance(0.5) ? 40 : $n) } 1 .. 3 * $degree + 20)
		  : shuffle 1 .. $n;
		my %targets = map { $_ => 1 } @all[ 0 .. $degree - 1 ];
		if ($name eq 'following' || $name eq 'blocked')
		{
			$targets{ $v->{n} } = 1,
			  delete $targets{ (first { $_ != $v->{n} } sort keys %targets) || 0 }
			  if $degree && chance(0.3);
			push @rows, map { [ $_, $v->{n} ] } uniq(map { somebody($w) } 1 .. pick(0, 2, 8, 80))
			  if chance(0.6);
		}
		push @rows, map { [ $v->{n}, $_ ] } sort keys %targets;
	}
	push @rows, map { [ somebody($w), 1 + int rand $n ] } 1 .. 400;
	my %seen;
	@rows = grep { !$seen{"@$_"}++ } @rows;
	push @rows, map { pick(@rows) } 1 .. 200 if !$e->{unique};
	push @rows,
	  map { chance(0.5) ? [ pick(@rows)->[0], undef ] : [ undef, pick(@rows)->[1] ] } 1 .. 50
	  if $e->{nulls};
	return shuffle @rows;
}

sub copy_text
{
	return join "\t", map { defined $_ ? s/\\/\\\\/gr : '\N' } @_;
}

# --- one statement, said twice --------------------------------------------------

# EXISTS over an edge, from or to the caller.
sub exists_edge
{
	my ($w, $name, $me, $target, $reverse, $rel) = @_;
	my $e = $w->{edge}{$name};
	my $on =
	  $reverse
	  ? "e.$e->{src} = $target AND e.$e->{dst} = $me->{ $e->{to}{class} }"
	  : "e.$e->{src} = $me->{ $e->{from}{class} } AND e.$e->{dst} = $target";
	return 'EXISTS (SELECT FROM ' . ($rel->{$name} || "plain.$name") . " e WHERE $on)";
}

# The words in plain SQL.  me: the caller as an expression of each class; rel:
# other relations for some edges.
sub plain_words
{
	my ($w, $p, $me, $rel) = @_;
	my ($author, $grp, $tag) = ("$p.author", "$p.grp", "$p.tag");
	my %is = (
		own => "$author = $me->{ $w->{author}{class} }",
		following => exists_edge($w, 'following', $me, $author, 0, $rel),
		member => exists_edge($w, 'member', $me, $grp, 0, $rel),
		blocked => exists_edge($w, 'blocked', $me, $author, 0, $rel),
		blocked_by => exists_edge($w, 'blocked', $me, $author, 1, $rel),
		likes => exists_edge($w, 'likes', $me, $tag, 0, $rel));
	my $view = sub {
		my $group = $_[0] ? " OR $p.visibility = $w->{word}{group} AND $is{member}" : '';
		return
		  "($is{own} OR ($p.visibility = $w->{word}{public} "
		  . "OR $p.visibility = $w->{word}{followers} AND $is{following}$group)"
		  . " AND NOT $is{blocked} AND NOT $is{blocked_by})";
	};
	return (
		%is,
		view => $view->(1),
		view_without_group => $view->(0),
		helper => $is{following},
		by_name => "($p.rank % 2 = 0 AND $is{following} OR $p.rank % 2 <> 0 AND $is{blocked})");
}

sub plain_policy
{
	my ($w, $policy, $p, $me, $rel) = @_;
	my %is = plain_words($w, $p, $me, $rel);
	my %of = (blocked => 'author', blocked_by => 'author', following => 'author', likes => 'tag');
	my $said = $policy{$policy}
	  || { grp => 'view', visibility => 'view_without_group', owner => 'own' }->{ $w->{protect} };
	# a predicate of NULL is NULL, and so is its negation
	return $said =~
	  s{\bNOT (\w+)|\b([a-z_]+)\b}{ $1 ? "($p.$of{$1} IS NOT NULL "
	  . "AND NOT $is{$1})" : "($is{$2})" }ger;
}

sub cozi_policy
{
	my ($w, $said) = @_;
	my $word =
	  $w->{visibility} eq 'smallint'
	  ? "(ARRAY['public', 'followers', 'group', 'private'])[visibility]"
	  : $w->{visibility} eq 'app.visibility' ? 'visibility::text'
	  :                                        'visibility';
	my %is = (
		own => 'cozi.is_owner(author)',
		following => 'cozi.is_following(author)',
		member => 'cozi.is_member(grp)',
		blocked => 'cozi.has_blocked(author)',
		blocked_by => 'cozi.is_blocked_by(author)',
		likes => 'cozi.is_edge(' . quoted($w->{edge}{likes}{name}) . ', tag)',
		view => "cozi.can_view($word, author, grp)",
		view_without_group => "cozi.can_view($word, author, NULL::bigint)",
		helper => 'app.helper(author)',
		by_name =>
		  q{cozi.is_edge((CASE WHEN rank % 2 = 0 THEN 'following' ELSE 'blocked' END)::name,}
		  . ' author)'
	);
	return $said =~ s{\b([a-z_]+)\b}{$is{$1}}gr;
}

# A query whose answer is one array; sees(alias) is the condition that stands
# for the policy, or true where the policy is in force.
sub question
{
	my ($shape, $rel, $filter, $sees) = @_;
	my $where = sub { my $p = shift; "($filter->{$p}) AND (" . $sees->($p) . ')' };
	return "SELECT coalesce(array_agg(p.id::text ORDER BY p.id), '{}') FROM $rel p WHERE "
	  . $where->('p')
	  if $shape eq 'all';
	return
	  "SELECT coalesce(array_agg(s.id::text ORDER BY s.id), '{}') FROM (SELECT p.id FROM $rel p "
	  . "WHERE "
	  . $where->('p')
	  . " ORDER BY p.rank DESC, p.id LIMIT $filter->{limit}) s"
	  if $shape eq 'feed';
	return
	  "SELECT coalesce(array_agg(s.x ORDER BY s.x), '{}') "
	  . "FROM (SELECT concat(right(p.author::text, 20), ':', count(*)) AS x FROM $rel p WHERE "
	  . $where->('p')
	  . ' GROUP BY p.author) s'
	  if $shape eq 'groups';
	return
	  "SELECT coalesce(array_agg(concat(p.id, '-', q.id) ORDER BY p.id, q.id), '{}') "
	  . "FROM $rel p JOIN $rel q ON q.author = p.author AND q.id > p.id WHERE p.rank < 60 "
	  . "AND q.rank < 200 AND "
	  . $where->('p') . ' AND '
	  . $where->('q')
	  if $shape eq 'join';
	return
	  "SELECT coalesce(array_agg(p.id::text ORDER BY p.id), '{}') FROM $rel p "
	  . "WHERE p.rank < 200 AND "
	  . $where->('p')
	  . " AND (p.id % 3 = 0 OR EXISTS (SELECT FROM $rel q WHERE q.grp = p.grp AND q.id <> p.id "
	  . "AND q.rank < 30 AND "
	  . $where->('q') . '))';
}

sub random_filter
{
	my ($a, $b) = (int rand 500, 2 + int rand 8);
	my $f = pick(
		'true', 'true', 'true', "{}.rank < $a",
		"{}.id % $b = 0",
		'{}.visibility IS NOT NULL',
		'{}.author IS NOT NULL',
		"{}.grp IS NOT NULL AND {}.rank > $a");
	return { limit => pick(1, 10, 50, 400), map { my $p = $_; $p => $f =~ s/\{\}/$p/gr } 'p', 'q' };
}

# The line a judge writes: two arrays, are they equal?
sub verdict
{
	my ($tag, $seen, $said) = @_;
	return
		"SELECT '=', $tag, a = b, cardinality(a), CASE WHEN a <> b THEN left(concat("
	  . "'cozi alone: ', array(SELECT unnest(a) EXCEPT SELECT unnest(b)), ' plain alone: ', "
	  . "array(SELECT unnest(b) EXCEPT SELECT unnest(a))), 2000) END"
	  . " FROM ($seen) s(a), ($said) p(b)";
}

# --- setting up a world ---------------------------------------------------------

sub set_up
{
	my ($w) = @_;
	my $of = sub { $w->{ $_[0] }{class} };
	my $sql = '';
	my $copy = sub {
		my ($into, @rows) = @_;
		$sql .=
		  "COPY $into FROM stdin;\n" . join('', map { copy_text(@$_) . "\n" } @rows) . "\\.\n";
	};
	my $roles = join ', ', values %role;
	$sql .= <<"END";
CREATE EXTENSION cozi;
SELECT cozi.add_secret('$secret');
GRANT USAGE ON SCHEMA cozi TO owner, $roles;
GRANT EXECUTE ON FUNCTION cozi.register_edge, cozi.protect TO owner;
CREATE SCHEMA app AUTHORIZATION owner;
CREATE SCHEMA plain;
GRANT USAGE ON SCHEMA app, plain TO $roles;
SET ROLE owner;
CREATE DOMAIN app.id_uuid AS uuid;
CREATE DOMAIN app.id_int AS int;
CREATE DOMAIN app.id_text AS varchar;
CREATE TYPE app.visibility AS ENUM ('public', 'followers', 'group', 'private', 'odd');
CREATE TABLE app.person (n int PRIMARY KEY, uuid uuid, bigint bigint, text text);
CREATE TABLE app.grp (LIKE app.person INCLUDING ALL);
CREATE TABLE app.tag (LIKE app.person INCLUDING ALL);
CREATE TABLE app.viewer (k int PRIMARY KEY, n int, token text, uuid uuid, bigint bigint, text text);
GRANT SELECT ON app.person, app.grp, app.tag, app.viewer TO $roles;
END
	for my $what (qw(person grp tag))
	{
		$copy->(
			"app.$what",
			map {
				my $n = $_;
				[
					$n,
					map {
						$what eq 'person' && $_ ne 'text' && $_ ne $w->{family}
						  ? undef
						  : id_of($w, $what, $_, $n)
					} qw(uuid bigint text)
				]
			} 1 .. ($what eq 'person' ? $w->{people} : $what eq 'grp' ? $w->{groups} : $w->{tags}));
	}
	$copy->(
		'app.viewer',
		map {
			[
				@$_{qw(k n)}, defined $_->{subject} ? token($_->{subject}) : undef,
				@$_{qw(uuid bigint text)}
			]
		} @{ $w->{viewers} });

	for my $name (sort keys %{ $w->{edge} })
	{
		my $e = $w->{edge}{$name};
		my ($src, $dst) = @$e{qw(src dst)};
		my $of_target = $name eq 'member' ? 'grp' : $name eq 'likes' ? 'tag' : 'person';
		$sql .=
		  "CREATE TABLE $e->{rel} (gone int, $src $e->{from}{type}, note text, $dst $e->{to}{type})"
		  . ($e->{parts} ? " PARTITION BY HASH ($e->{$e->{parts}})" : '') . ";\n";
		$sql .=
		  "CREATE TABLE $e->{rel}_$_ PARTITION OF $e->{rel} FOR "
		  . "VALUES WITH (MODULUS 3, REMAINDER $_);\n"
		  for $e->{parts} ? 0 .. 2 : ();
		$sql .= "ALTER TABLE $e->{rel} DROP COLUMN gone;\n" if chance(0.5);
		$copy->(
			"$e->{rel} ($src, $dst)",
			map {
				[
					id_of($w, 'person', $e->{from}{class}, $_->[0]),
					id_of($w, $of_target, $e->{to}{class}, $_->[1])
				]
			} pairs($w, $name));
		$sql .= {
			'primary key' => "ALTER TABLE $e->{rel} ADD PRIMARY KEY ($src, $dst);\n",
			'unique' => "CREATE UNIQUE INDEX ON $e->{rel} ($src, $dst) INCLUDE (note);\n",
			'longer' => "CREATE INDEX ON $e->{rel} ($src, $dst, note);\n",
			'backwards' => "CREATE INDEX ON $e->{rel} ($src DESC, $dst NULLS FIRST);\n"
		}->{ $e->{kind} };
		$sql .= "CREATE INDEX ON $e->{rel} ($dst, $src);\n" if $e->{both_ways};
		$sql .= 'SELECT cozi.register_edge('
		  . join(', ', map { quoted(s/"//gr) } $e->{name} || $name, $e->{rel}, $src, $dst) . ");\n";
	}

	my $rows = $w->{rows} =
	  $w->{family} eq 'text' ? deal('few rows', 300, 1000) : deal('rows', 600, 2500, 2500);
	my @authors = ((map { $_->{n} } grep { defined $_->{n} } @{ $w->{viewers} }), undef);
	for my $layout (@layouts)
	{
		my $by = {
			plain => '',
			hash => 'PARTITION BY HASH (author)',
			range => 'PARTITION BY RANGE (rank)'
		}->{$layout};
		for my $t ($posts{$layout}, $kept{$layout})
		{
			$sql .=
			  "CREATE TABLE app.$t (id int, author $w->{author}{type}, grp $w->{grp}{type}, "
			  . "visibility $w->{visibility}, tag $w->{tag}{type}, rank int) $by;\n";
			$sql .=
			  "CREATE TABLE app.${t}_$_ PARTITION OF app.$t FOR "
			  . "VALUES WITH (MODULUS 3, REMAINDER $_);\n"
			  for $layout eq 'hash' ? 0 .. 2 : ();
			$sql .=
				"CREATE TABLE app.${t}_$_ PARTITION OF app.$t FOR VALUES FROM ("
			  . 100 * $_
			  . ') TO ('
			  . 100 * ($_ + 1) . ");\n"
			  for $layout eq 'range' ? 0 .. 1 : ();
			$sql .= "CREATE TABLE app.${t}_rest PARTITION OF app.$t DEFAULT;\n"
			  if $layout eq 'range';
			$sql .= "CREATE INDEX ON app.$t (author, id);\n";
			$sql .= "CREATE INDEX ON app.$t ($_);\n"
			  for grep { chance(0.4) } 'grp', 'tag', 'rank DESC, id', 'visibility';
			if ($t eq $posts{plain})
			{
				$copy->(
					"app.$t",
					map {
						[
							$_,
							id_of(
								$w,
								'person',
								$w->{author}{class},
								chance(0.1)      ? pick(@authors)            : $rows > 1000
								  && chance(0.6) ? 1 + int rand $w->{people} : somebody($w)),
							id_of(
								$w, 'grp',
								$w->{grp}{class},
								pick(
									undef,
									1 + int rand 10,
									map { 1 + int rand $w->{groups} } 1 .. 4)),
							pick(@{ $w->{words} }),
							id_of(
								$w, 'tag',
								$w->{tag}{class},
								pick(undef, map { 1 + int rand $w->{tags} } 1 .. 5)),
							int rand 500
						]
					} 1 .. $rows);
			}
			else { $sql .= "INSERT INTO app.$t SELECT * FROM app.$posts{plain};\n" }
		}
		my $t = $posts{$layout};
		$sql .=
		  "ALTER TABLE app.$t ENABLE ROW LEVEL SECURITY; "
		  . "GRANT SELECT ON app.$t, app.$kept{$layout} TO $roles;\n";
		$sql .=
			"SELECT cozi.protect('app.$kept{$layout}', 'author'"
		  . ($w->{protect} eq 'owner' ? ''                : ", visibility => 'visibility'")
		  . ($w->{protect} eq 'grp'   ? ", grp => 'grp'"  : '')
		  . (chance(0.5)              ? ', force => true' : '') . ");\n";
	}
	$sql .= <<"END";
CREATE FUNCTION app.helper(id @{[ $of->('author') ]}) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS \$\$ BEGIN RETURN cozi.is_following(id); END \$\$;
END
	for my $policy (grep { defined $policy{$_} } @policies)
	{
		my @made =
		  $policy eq 'restricted'
		  ? ([ 'own', '' ], [ 'following', '' ], [ 'NOT blocked_by', 'AS RESTRICTIVE' ])
		  : ([ $policy{$policy}, '' ]);
		for my $t (values %posts)
		{
			$sql .=
			  "CREATE POLICY ${policy}_$_ ON app.$t $made[$_][1] FOR SELECT TO $role{$policy} "
			  . "USING ("
			  . cozi_policy($w, $made[$_][0]) . ");\n"
			  for 0 .. $#made;
		}
	}
	$sql .= "CREATE SEQUENCE app.post_id START 100001;\nCREATE SEQUENCE app.acts;\nRESET ROLE;\n";

	# what is compared with: the tables themselves, read with a superuser's rights
	$sql .= "CREATE VIEW plain.$_ AS SELECT * FROM $w->{edge}{$_}{rel};\n"
	  for sort keys %{ $w->{edge} };
	$sql .= "CREATE VIEW plain.$_ AS SELECT * FROM app.$_;\n" for values %posts, values %kept;
	my %is = plain_words(
		$w, 'p',
		{ map { $_ => "me.$_" } @classes },
		{ map { $_ => $w->{edge}{$_}{rel} } keys %{ $w->{edge} } });
	my $columns =
	  "author @{[ $of->('author') ]}, grp @{[ $of->('grp') ]}, tag @{[ $of->('tag') ]}, "
	  . "visibility $w->{visibility}";
	for my $word (qw(own following member blocked blocked_by likes view))
	{
		$sql .=
		  "CREATE FUNCTION plain.is_$word(me app.viewer, $columns) RETURNS boolean "
		  . "LANGUAGE sql STABLE SECURITY DEFINER AS \$\$"
		  . " SELECT coalesce($is{$word}, false) FROM (VALUES (\$2, \$3, \$4, \$5)) p(author, "
		  . "grp, tag, visibility) \$\$;\n";
	}
	$sql .= <<'END';
CREATE FUNCTION plain.answer(question text) RETURNS text[]
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET enable_indexscan = on SET enable_indexonlyscan = on
    SET enable_bitmapscan = on SET enable_seqscan = on AS $$
DECLARE
    answer text[];
BEGIN
    EXECUTE question INTO answer;
    RETURN answer;
END $$;
END
	$sql .= functions($w);
	$sql .= "GRANT SELECT ON ALL TABLES IN SCHEMA plain TO $roles;\nSELECT 'all is set up';\n";

	$primary->safe_psql('postgres', "CREATE DATABASE $w->{db}");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $primary->connstr($w->{db}) ],
		'<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	like($out, qr/^all is set up$/m, "$w->{db}: a world") or BAIL_OUT($err);
	$primary->safe_psql($w->{db}, 'ANALYZE');
	$primary->wait_for_catchup($standby);
}

# What judges and writers call.
sub functions
{
	my ($w) = @_;
	my %c = map { $_ => $w->{$_}{class} } qw(author grp tag);
	my @edges = map { $w->{edge}{$_} } qw(following member blocked likes);
	my $insert = sub {
		my ($e, $from, $to, $of) = @_;
		my ($a, $b) = ($from eq 'v' ? 'v' : 't', $to eq 'v' ? 'v' : 't');
		return
		  "INSERT INTO $e->{rel} ($e->{src}, $e->{dst}) "
		  . "SELECT a.$e->{from}{class}, b.$e->{to}{class} FROM app.person a, app.$of b "
		  . "WHERE a.n = $from AND b.n = $to ON CONFLICT DO NOTHING;";
	};
	my $delete = sub {
		my ($e, $from, $to, $of) = @_;
		return
		  "DELETE FROM $e->{rel} e USING app.person a, app.$of b WHERE a.n = $from "
		  . "AND b.n = $to AND e.$e->{src} = a.$e->{from}{class} "
		  . "AND e.$e->{dst} = b.$e->{to}{class};";
	};
	my @acts = (
		(map { $_->($edges[0], 'v', 't', 'person') } $insert, $insert, $delete, $delete),
		(map { $_->($edges[2], 'v', 't', 'person') } $insert, $delete),
		(map { $_->($edges[2], 't', 'v', 'person') } $insert, $delete),
		(map { $_->($edges[1], 'v', 'thing', 'grp') } $insert, $delete),
		(map { $_->($edges[3], 'v', 'thing', 'tag') } $insert, $delete));
	my $acts = join "\n        ", map { "WHEN $_ THEN $acts[$_]" } 0 .. $#acts;
	my $tables = join ', ', map { quoted($_) } @posts{@layouts}, @kept{@layouts};
	my $words =
	  'ARRAY[' . join(', ', map { quoted($_) } @{ $w->{words} }) . "]::$w->{visibility}" . '[]';
	my $likes = quoted($w->{edge}{likes}{name});
	my $word = cozi_policy($w, 'view') =~ s/.*can_view\((.*), author, grp\)/$1/r;
	my $all = "t.$c{author}, g.$c{grp}, l.$c{tag}, visibility";
	my %ask = (
		own => "coalesce(cozi.is_owner(t.$c{author}), false)",
		following => "cozi.is_following(t.$c{author})",
		member => "cozi.is_member(g.$c{grp})",
		blocked => "cozi.has_blocked(t.$c{author})",
		blocked_by => "cozi.is_blocked_by(t.$c{author})",
		likes => "cozi.is_edge($likes, l.$c{tag})",
		view => "cozi.can_view($word, t.$c{author}, g.$c{grp})");
	my $asks = join "\n    ",
	  map { "IF $ask{$_} IS DISTINCT FROM plain.is_$_(me, $all) THEN bad := bad || ' $_'; END IF;" }
	  sort keys %ask;
	return <<"END";
CREATE FUNCTION app.be(who int) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
    t text := (SELECT token FROM app.viewer WHERE k = who);
BEGIN
    IF t IS NULL THEN PERFORM cozi.logout(); ELSE PERFORM cozi.login(t); END IF;
END \$\$;

-- v and t fall in or out, or something is posted
CREATE FUNCTION app.act(what int, v int, t int) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS \$\$
DECLARE
    thing int := (t - 1) % 144 + 1;
    posts text := (ARRAY[$tables])[1 + floor(random() * 6)::int];
    said $w->{visibility} := ($words)[1 + floor(random() * @{[ scalar @{ $w->{words} } ]})::int];
BEGIN
    PERFORM nextval('app.acts');
    CASE what
        $acts
        WHEN @{[ scalar @acts ]} THEN
            EXECUTE format('UPDATE app.%I SET visibility = \$1 WHERE id = \$2', posts)
                USING said, (random() * 400)::int;
        WHEN @{[ @acts + 1 ]} THEN
            EXECUTE format('DELETE FROM app.%I WHERE id = \$1', posts)
                USING 100000 + (random() * 1000)::int;
        ELSE
            EXECUTE format('INSERT INTO app.%I SELECT nextval(''app.post_id''),
                    a.$c{author}, g.$c{grp}, \$1, l.$c{tag}, (random() * 500)::int
                FROM app.person a, app.grp g, app.tag l
                WHERE a.n = \$2 AND g.n = \$3 AND l.n = \$3', posts)
                USING said, t, thing;
    END CASE;
END \$\$;

-- more subtransactions than a backend tells the others
CREATE FUNCTION app.act_often(v int, t int) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
    FOR i IN 1 .. 70 LOOP
        BEGIN
            PERFORM app.act(i % 12, v, t);
            IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END \$\$;

-- one expression for each predicate, kept for the whole transaction
CREATE FUNCTION app.ask(me app.viewer, t app.person, visibility $w->{visibility}) RETURNS text
    LANGUAGE plpgsql AS \$\$
DECLARE
    g app.grp;
    l app.tag;
    bad text := '';
BEGIN
    SELECT * INTO g FROM app.grp WHERE n = (t.n - 1) % 144 + 1;
    SELECT * INTO l FROM app.tag WHERE n = (t.n - 1) % 144 + 1;
    $asks
    RETURN bad;
END \$\$;

CREATE FUNCTION app.walk(steps int, seed float8, band int, OUT asked int, OUT bad text)
    LANGUAGE plpgsql AS \$\$
DECLARE
    me app.viewer;
    t app.person;
    said $w->{visibility};
    pick int;
    what int;
BEGIN
    asked := 0;
    bad := '';
    PERFORM setseed(seed);
    FOR i IN 1 .. steps LOOP
        IF i = 1 OR random() < 0.2 THEN
            pick := floor(random() * @{[ scalar @{ $w->{viewers} } ]});
            SELECT * INTO me FROM app.viewer WHERE k = pick;
            PERFORM app.be(me.k);
        END IF;
        said := ($words)[1 + floor(random() * @{[ scalar @{ $w->{words} } ]})::int];
        pick := 8 * (1 + floor(random() * 4)::int) + band;
        SELECT * INTO t FROM app.person WHERE n = pick;
        what := floor(random() * 12)::int;
        bad := bad || app.ask(me, t, said);
        asked := asked + 7;
        CASE floor(random() * 4)::int
            WHEN 0 THEN PERFORM app.act(what, coalesce(me.n, 101), t.n);
            WHEN 1 THEN
                BEGIN
                    PERFORM app.act(what, coalesce(me.n, 101), t.n);
                    bad := bad || app.ask(me, t, said);
                    RAISE division_by_zero;
                EXCEPTION WHEN division_by_zero THEN
                    bad := bad || app.ask(me, t, said);
                    asked := asked + 14;
                END;
            WHEN 2 THEN
                BEGIN
                    PERFORM app.act(what, coalesce(me.n, 101), t.n);
                    bad := bad || app.ask(me, t, said);
                    asked := asked + 7;
                EXCEPTION WHEN division_by_zero THEN NULL;
                END;
            ELSE NULL;
        END CASE;
    END LOOP;
END \$\$;

-- the same caller asks again and again, while others change what it is told
CREATE FUNCTION app.watch(who int, during interval, OUT asked int, OUT bad text)
    LANGUAGE plpgsql AS \$\$
DECLARE
    until timestamptz := clock_timestamp() + during;
    me app.viewer;
    t app.person;
BEGIN
    asked := 0;
    bad := '';
    SELECT * INTO me FROM app.viewer WHERE k = who;
    PERFORM app.be(who);
    WHILE clock_timestamp() < until LOOP
        FOR t IN SELECT * FROM app.person WHERE n <= 40 AND n % 8 >= 2 LOOP
            bad := bad || app.ask(me, t, @{[ quoted($w->{words}[1]) ]});
            asked := asked + 7;
        END LOOP;
    END LOOP;
END \$\$;

-- the same about one other, until the answer has turned
CREATE FUNCTION app.stare(who int, whom int, OUT turned int, OUT bad text) LANGUAGE plpgsql AS \$\$
DECLARE
    until timestamptz := clock_timestamp() + interval '30 s';
    me app.viewer;
    t app.person;
    is_now boolean;
    was boolean;
    more int := 100;
BEGIN
    turned := -1;
    bad := '';
    SELECT * INTO me FROM app.viewer WHERE k = who;
    SELECT * INTO t FROM app.person WHERE n = whom;
    PERFORM app.be(who);
    WHILE clock_timestamp() < until AND more > 0 LOOP
        is_now := plain.is_following(me, t.$c{author}, NULL, NULL, NULL);
        turned := turned + (is_now IS DISTINCT FROM was)::int;
        more := more - turned;
        was := is_now;
        bad := bad || app.ask(me, t, NULL);
    END LOOP;
END \$\$;

-- a cursor over both sides of a question, read in parts while edges change
CREATE FUNCTION app.by_cursor(question text, part int, changes text[], OUT a text[], OUT b text[])
    LANGUAGE plpgsql AS \$\$
DECLARE
    c refcursor;
    row record;
    n int := 0;
BEGIN
    a := '{}';
    b := '{}';
    OPEN c FOR EXECUTE question;
    LOOP
        FETCH c INTO row;
        EXIT WHEN NOT FOUND;
        IF row.side = 'a' THEN a := a || row.id::text; ELSE b := b || row.id::text; END IF;
        n := n + 1;
        IF n % part = 0 AND n / part <= cardinality(changes) THEN
            EXECUTE changes[n / part];
            PERFORM count(*) FROM app.$posts{plain};
        END IF;
    END LOOP;
    a := array(SELECT x FROM unnest(a) x ORDER BY x);
    b := array(SELECT x FROM unnest(b) x ORDER BY x);
END \$\$;
END
}

# --- judges ---------------------------------------------------------------------

my %dimension = (
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
my @subjects = all_of(qw(layout policy));
my @modes = (
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
my @modes_on_standby =
  grep { $_->{iso} ne 'serializable' && $_->{how} =~ /statement|cursor/ } @modes;
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

my @tags;    # what each line of this round's judges is about

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
	return "BEGIN ISOLATION LEVEL $isolation{$iso};\nSET LOCAL ROLE $role{owner};\n"
	  . "SELECT '=', @{[ new_tag(%m) ]}, bad = '', asked, left(bad, 2000) "
	  . "FROM app.watch(@{[ int rand 12 ]}, '@{[ $iso eq 'committed' ? 1 : 0.2 ]} s');\nCOMMIT;\n";
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
	return
	  "BEGIN ISOLATION LEVEL $isolation{ $m{iso} };\nSET LOCAL ROLE $role{owner};\n"
	  . "SELECT '=', @{[ new_tag(%m) ]}, bad = '', asked, left(bad, 2000) "
	  . "FROM app.walk(30, @{[ rand ]}, $judge);\n"
	  . pick('COMMIT', 'ROLLBACK') . ";\n"
	  if $m{how} eq 'loop';
	%m = (%m, %{ %forced ? pick(@subjects) : deal("$deck subjects", @subjects) }, %forced);
	$m{scan} ||= deal("$deck $m{layout}", @{ $dimension{scan} });
	$m{mem}  ||= deal("$deck $m{policy}", @{ $dimension{mem} });
	my $t = $policy{ $m{policy} } ? $posts{ $m{layout} } : $kept{ $m{layout} };
	my $plainly = $m{scan} eq 'only' || %forced;
	my $shape = $plainly ? 'all' : pick(qw(all all all feed groups join semi));
	my $filter = $plainly ? { p => 'true', q => 'true' } : random_filter();
	my $two = $m{iso} ne 'committed' && chance(0.7);
	# what makes cozi's side read all posts would make the other read all edges for each:
	# that is planned apart
	my $apart = $m{scan} eq 'seq' || chance(0.2);
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
		return ($prepared && !$other
			? "EXECUTE one($values, $tag);\n"
			: verdict($tag, $seen, $answer->($said->($me, $more{rel}))) . ";\n")
		  if !$two;
		my $first =
		  $prepared ? "EXECUTE first \\gset\n" : "SELECT a AS seen FROM ($seen) s(a) \\gset\n";
		my $second =
		  $prepared && !$other
		  ? "EXECUTE second($values, $tag, :'seen');\n"
		  : verdict($tag, "SELECT :'seen'::text[]", $answer->($bare->($said->($me, $more{rel}))))
		  . ";\n";
		return
		  "\\set seen {}\n${first}SET LOCAL ROLE NONE;\n"
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
						following =>
						  "(SELECT * FROM plain.following "
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
			# a savepoint has its caller: become it again, whoever that was
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
		my $whole =
		  "$begin${body}SELECT false AS again \\gset\n$end;\n\\if :ERROR\n\\set again true\n"
		  . "\\endif\n";
		$script .= "\\set again true\n$whole";
		$script .= "\\if :again\n\\echo !again\n$whole\\endif\n" x 2 if $m{iso} eq 'serializable';
	}
	$script .= "DEALLOCATE ALL;\n" if $prepared;
	return $script;
}

sub judge
{
	my ($w, $node, $judge) = @_;
	my $script =
	  "SELECT clock_timestamp() + interval '$round_for s' AS until \\gset\n"
	  . "SET statement_timeout = '60s';\n\\set VERBOSITY terse\n";
	my $on_standby = $node == $standby;
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
	for my $i (1 .. 30 * $round_for)
	{
		$script .= "SELECT clock_timestamp() > :'until' AS over \\gset\n\\if :over\n\\q\n\\endif\n"
		  if $i > $least;
		# cards that may never be played are from another deck
		$script .= block($w, $judge, $on_standby, $i > $least ? "more $where" : $where);
	}
	# files, not pipes: nobody reads while another is waited for
	my $j = { map { $_ => "$dir/$w->{db}_$judge.$_" } qw(sql out err) };
	append_to_file($j->{sql}, $script);
	$j->{run} =
	  IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($w->{db}), '-f', $j->{sql} ],
		'<', \undef, '>', $j->{out}, '2>', $j->{err}, IPC::Run::timeout(300));
	return $j;
}

# --- writers --------------------------------------------------------------------

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

# --- rounds -----------------------------------------------------------------------

my (%cover, %wrong, %noticed, %plans, %share, @differ, @errors);
my ($compared, $asked, $again, $acts) = (0, 0, 0, 0);

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
	push @errors,
	  grep { !/could not serialize|current transaction is aborted|savepoint "s\d" does not exist/ }
	  split /\n/, slurp_file($j->{err});
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
			  . " SELECT a = :'seen'::text[] FROM ($said) s(a); COMMIT"
		);
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
	$_->{node}->poll_query_until($w->{db},
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'active' "
		  . "AND query LIKE '%stared%' AND pid <> pg_backend_pid()"
	) for @stares;
	select undef, undef, undef, 0.2;
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
			'pgbench', '-n', '-c', 6, '-j', 1, '-R', 150, '-T', 600, '--max-tries', 20, '-f',
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

# --- what came out ----------------------------------------------------------------

note(
	"$round worlds, $compared questions compared, $asked predicates in loops, "
	  . "$again transactions said again, $acts changes by others or between, in "
	  . (time - $began)
	  . ' s');
note('plans with ' . join ', ', map { "$_: $plans{$_}" } sort keys %plans);
is(scalar @differ, 0, 'cozi and plain SQL agree')
  or
  diag(join "\n", "COZI_SEED=$seed", map { substr $_, 0, 4000 } @differ[ 0 .. min(9, $#differ) ]);
is(scalar @errors, 0, 'without an error')
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
