# What protect() makes against plain SQL, on random data: edges with conditions,
# words, parents, partitions and children, soft deletion and an override.  In one
# snapshot, a caller's rows under cozi's policies are the rows of the same
# question said by hand.
#
# COZI_SEED repeats a run.  The oracle never calls cozi.
use strict;
use warnings;

use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

my $seed = $ENV{COZI_SEED} // int(rand(2**31));
note("COZI_SEED=$seed");
my $worlds = $ENV{COZI_LONG} ? 60 : 2;
my $people = 24;
my $each = 8;     # callers of a session

my $node = PostgreSQL::Test::Cluster->new('more');
$node->init(extra => [ '--no-locale', '-E', 'UTF8' ]);
$node->append_conf('postgresql.conf', "fsync = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app');
srand($seed);     # now: the server's port was by chance, too

sub pick   { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }
sub quoted { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'NULL' }
sub array  { return quoted('{' . join(',', @_) . '}') }

my %decks;

# The next card of a shuffled deck: by chance, and each as often as the others.
sub deal
{
	my ($name, @cards) = @_;
	$decks{$name} = [ shuffle @cards ] unless $decks{$name} && @{ $decks{$name} };
	return shift @{ $decks{$name} };
}

# Person or group number n, as a value of the world's type of ids.
sub id
{
	my ($w, $n) = @_;
	return "user $n" if $w->{id} eq 'text';
	return $n * 1_000_003 if $w->{id} eq 'bigint';
	return sprintf '%08x-0000-4000-8000-%012x', $n * 7919, $n;
}

sub literal { my ($w, $n) = @_; return defined $n ? quoted(id($w, $n)) : 'NULL' }

# Kinds of columns of words: type, the words, and whether they must be mapped.
my %kinds = (
	text => [ 'text', qw(a b c d e f) ],
	varchar => [ 'varchar(9)', qw(a b c d e f) ],
	char => [ 'char(3)', qw(a b c d e f) ],
	enum => [ 'app.word', qw(a b c d e f) ],
	smallint => [ 'smallint', 1 .. 6 ],
	boolean => [ 'boolean', qw(true false) ]);

sub new_world
{
	my ($n) = @_;
	my $w = { db => "world_$n", id => deal('id', qw(bigint text uuid)) };
	my %kind = map {
		$_ => deal(
			$_, $_ eq 'role'
			? grep { $_ ne 'boolean' } sort keys %kinds
			: sort keys %kinds)
	} qw(status role visibility);
	foreach my $column (keys %kind)
	{
		my ($type, @words) = @{ $kinds{ $kind{$column} } };
		$w->{$column} = { type => $type, words => [ shuffle @words ] };
	}
	$w->{accepted} = [ @{ $w->{status}{words} }[ 0 .. ($kind{status} eq 'boolean' ? 0 : 1) ] ];
	$w->{roles} = [ @{ $w->{role}{words} }[ 0 .. 2 ] ];
	my @meanings = qw(public followers group private unlisted);
	@meanings = shuffle qw(followers public) if $kind{visibility} eq 'boolean';
	@{ $w->{means} }{ @{ $w->{visibility}{words} }[ 0 .. $#meanings ] } = @meanings;
	$w->{$_} = deal("layout of $_", qw(plain hash range inherited)) for qw(posts comments);
	$w->{deletes} = deal('deletes', 1, 1, 0);
	$w->{override} = deal('override', 1, 1, 0);
	$w->{own_words} = deal('words of comments', 0, 1);
	$w->{index} = deal('index', qw(plain covering partial));
	note(   "$w->{db}: ids are $w->{id}; "
		  . join(', ', map { "$_ is $kind{$_}" } sort keys %kind)
		  . "; posts $w->{posts}, comments $w->{comments}, $w->{index} indexes"
		  . join('', map { $w->{$_} ? ", $_" : '' } qw(deletes override own_words)));
	return $w;
}

# A table in its layout.
sub table
{
	my ($w, $name, $columns) = @_;
	my $create = "CREATE TABLE app.$name ($columns, PRIMARY KEY (id))";
	my $layout = $w->{$name};
	return "$create;" if $layout eq 'plain';
	return "$create PARTITION BY HASH (id);" . join '', map {
		"CREATE TABLE app.${name}_$_ PARTITION OF app.$name FOR VALUES
			WITH (MODULUS 3, REMAINDER $_);"
	} 0 .. 2 if $layout eq 'hash';
	return "$create PARTITION BY RANGE (id);
		CREATE TABLE app.${name}_0 PARTITION OF app.$name FOR VALUES FROM (MINVALUE) TO (200);
		CREATE TABLE app.${name}_1 PARTITION OF app.$name DEFAULT;" if $layout eq 'range';
	return "$create;" . join '',
	  map { "CREATE TABLE app.${name}_$_ (PRIMARY KEY (id)) INHERITS (app.$name);" } 0 .. 1;
}

# Where row n of a table is put: of an inherited table, by chance into a child.
sub leaf
{
	my ($w, $name) = @_;
	return $w->{$name} eq 'inherited' ? "app.$name" . pick('', '_0', '_1') : "app.$name";
}

sub word { my ($w, $column) = @_; return quoted(pick(@{ $w->{$column}{words} }, undef)) }

sub instant
{
	return pick('NULL', 'NULL', "'infinity'", "'-infinity'",
		map { "now() $_ interval '1 day'" } '+', '-');
}

sub deleted { return pick('NULL', 'NULL', 'NULL', 'now()', "'infinity'") }

sub edge_rows
{
	my ($w, $name, $targets, $share, @more) = @_;
	my @rows;
	foreach my $from (1 .. $people)
	{
		foreach my $to (grep { chance($share) } 1 .. $targets)
		{
			push @rows,
			  '(' . join(', ', literal($w, $from), literal($w, $to), map { $_->() } @more) . ')'
			  for 1 .. (chance(0.2) ? 2 : 1);    # a pair may have two rows
		}
	}
	push @rows, '(' . join(', ', 'NULL', literal($w, 1), map { $_->() } @more) . ')';
	return "INSERT INTO app.$name VALUES " . join(', ', shuffle @rows) . ';';
}

sub edge_index
{
	my ($w, $name, $first, $second, @conditions) = @_;
	my $more = $w->{index} eq 'covering' ? ' INCLUDE (' . join(', ', @conditions) . ')' : '';
	$more .= ' WHERE deleted_at IS NULL' if $w->{index} eq 'partial';
	return "CREATE INDEX ON app.$name ($first, $second)$more;";
}

sub create_edges
{
	my ($w) = @_;
	my $id = $w->{id};
	my $status = sub { word($w, 'status') };
	my $role = sub { word($w, 'role') };
	my @indexes = (
		edge_index($w, 'follows', 'src', 'dst', 'status', 'deleted_at'),
		edge_index($w, 'members', 'usr', 'grp', qw(role expires_at deleted_at)),
		map { edge_index($w, 'blocks', @$_, qw(expires_at deleted_at)) }[qw(a b)],
		[qw(b a)]);
	my $parts = chance(0.5) ? 'PARTITION BY HASH (src)' : '';
	my $part = $parts
	  ? join '', map {
		"CREATE TABLE app.follows_$_ PARTITION OF app.follows FOR VALUES
			WITH (MODULUS 2, REMAINDER $_);"
	  } 0, 1
	  : '';
	return "CREATE TABLE app.follows (src $id, dst $id, status $w->{status}{type},
			deleted_at timestamptz) $parts; $part
		CREATE TABLE app.members (usr $id, grp $id, role $w->{role}{type}, expires_at timestamptz,
			deleted_at timestamptz);
		CREATE TABLE app.blocks (a $id, b $id, expires_at timestamptz, deleted_at timestamptz);"
	  . join('', @indexes)
	  . edge_rows($w, 'follows', $people, 0.4, $status, \&deleted)
	  . edge_rows($w, 'members', 8, 0.5, $role, \&instant, \&deleted)
	  . edge_rows($w, 'blocks', $people, 0.08, \&instant, \&deleted)
	  . "SELECT cozi.register_edge('following', 'app.follows', 'src', 'dst', status => 'status',
			accepted => @{[ array(@{ $w->{accepted} }) ]}, deleted_at => 'deleted_at');
		SELECT cozi.register_edge('member', 'app.members', 'usr', 'grp', role => 'role',
			roles => @{[ array(@{ $w->{roles} }) ]}, expires_at => 'expires_at',
			deleted_at => 'deleted_at');
		SELECT cozi.register_edge('blocked', 'app.blocks', 'a', 'b', expires_at => 'expires_at',
			deleted_at => 'deleted_at');";
}

sub row
{
	my ($w, $post) = @_;
	my $author = chance(0.03) ? 'NULL' : literal($w, 1 + int rand $people);
	my $grp = chance(0.1) ? 'NULL' : literal($w, 1 + int rand 8);
	return join ', ', $author, word($w, 'visibility'), $grp, deleted(), $post;
}

# The tables that are protected, and rows that callers try to write.
sub create_tables
{
	my ($w) = @_;
	my $columns = "author $w->{id}, visibility $w->{visibility}{type}, grp $w->{id},
		deleted_at timestamptz, post_id int";
	my $post = sub { chance(0.05) ? pick('NULL', 9999) : 1 + int rand 400 };
	my $sql = table($w, 'posts', "id int, $columns") . table($w, 'comments', "id int, $columns");
	$sql .= "CREATE TABLE app.tried (id int PRIMARY KEY, $columns);";
	$sql .= "INSERT INTO @{[ leaf($w, 'posts') ]} VALUES ($_, @{[ row($w, 'NULL') ]});"
	  for 1 .. 400;
	$sql .= "INSERT INTO @{[ leaf($w, 'comments') ]} VALUES ($_, @{[ row($w, $post->()) ]});"
	  for 1 .. 400;
	$sql .= "INSERT INTO app.tried VALUES (10000 + $_, @{[ row($w, $post->()) ]});" for 1 .. 60;
	my @more = $w->{deletes} ? "deleted_at => 'deleted_at'" : ();
	push @more, "override_role => 'moderator'" if $w->{override};
	my $means = $w->{means};
	my $words = '{' . join(', ', map { qq("$_": "$means->{$_}") } sort keys %$means) . '}';
	my @words = ("visibility => 'visibility'", "grp => 'grp'", "words => '$words'");
	my @parent = ("parent => 'app.posts'", "parent_key => 'post_id'");
	push @parent, @words if $w->{own_words};
	return $sql . "SELECT cozi.protect('app.posts', 'author', @{[ join ', ', @words, @more ]});
		SELECT cozi.protect('app.comments', 'author', @{[ join ', ', @parent, @more ]});
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO app;";
}

sub set_up
{
	my ($w) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $w->{db}");
	$node->safe_psql(
		$w->{db}, "SET client_min_messages = error; CREATE EXTENSION cozi;
		SELECT cozi.add_secret('$secret'); CREATE SCHEMA app;
		GRANT USAGE ON SCHEMA cozi, app TO app;
		CREATE TYPE app.word AS ENUM ('a', 'b', 'c', 'd', 'e', 'f');"
		  . create_edges($w) . create_tables($w) . <<'SQL');
CREATE FUNCTION app.listed(VARIADIC ids int[]) RETURNS text LANGUAGE sql IMMUTABLE
	AS $$ SELECT coalesce(string_agg(i::text, ' ' ORDER BY i), '-') FROM unnest(ids) i $$;
-- the rows that a statement about one row writes without an error
CREATE FUNCTION app.written(ids int[], statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	i int;
	n bigint;
	written int[];
BEGIN
	FOREACH i IN ARRAY ids
	LOOP
		BEGIN
			EXECUTE statement USING i;
			GET DIAGNOSTICS n = ROW_COUNT;
			IF n > 0 THEN
				written := written || i;
			END IF;
		EXCEPTION WHEN insufficient_privilege THEN
			NULL;
		END;
	END LOOP;
	RETURN app.listed(VARIADIC written);
END $$;
VACUUM ANALYZE;
SQL
	return;
}



# An edge from one expression to another; roles: the least that holds, or none.
sub follows
{
	my ($w, $from, $to) = @_;
	return "EXISTS (SELECT FROM app.follows e WHERE e.src = $from AND e.dst = $to
		AND e.status = ANY (@{[ array(@{ $w->{accepted} }) ]}) AND e.deleted_at IS NULL)";
}

sub member
{
	my ($w, $me, $grp, $least) = @_;
	my @roles = @{ $w->{roles} };
	@roles = @roles[ ($least // 0) .. $#roles ];
	return "EXISTS (SELECT FROM app.members e WHERE e.usr = $me AND e.grp = $grp
		AND e.role = ANY (@{[ array(@roles) ]}) AND e.deleted_at IS NULL
		AND (e.expires_at IS NULL OR e.expires_at > now()))";
}

sub blocks
{
	my ($from, $to) = @_;
	return "EXISTS (SELECT FROM app.blocks e WHERE e.a = $from AND e.b = $to
		AND e.deleted_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > now()))";
}

sub is_word
{
	my ($w, $t, @meanings) = @_;
	my %wanted = map { $_ => 1 } @meanings;
	my @words = grep { $wanted{ $w->{means}{$_} } } sort keys %{ $w->{means} };
	return @words ? "coalesce($t.visibility = ANY (@{[ array(@words) ]}), false)" : 'false';
}

sub by_words
{
	my ($w, $t, $me) = @_;
	return
		'('
	  . is_word($w, $t, 'public', 'unlisted') . ' OR '
	  . is_word($w, $t, 'followers') . ' AND '
	  . follows($w, $me, "$t.author") . ' OR '
	  . is_word($w, $t, 'group') . ' AND '
	  . member($w, $me, "$t.grp")
	  . ') AND NOT '
	  . blocks($me, "$t.author")
	  . ' AND NOT '
	  . blocks("$t.author", $me);
}

# What a caller sees, changes, deletes and inserts: conditions about the alias t.
sub by_hand
{
	my ($w, $table, $t, $caller) = @_;
	my $me = $caller->{id};
	my $all = $w->{override} && $caller->{moderator} ? 'true' : 'false';
	my $own = "coalesce($t.author = $me, false)";
	my $worded = $table eq 'posts' || $w->{own_words};
	my @shared = $w->{deletes} ? "$t.deleted_at IS NULL" : ();
	push @shared, by_words($w, $t, $me) if $worded;
	my @writes = ($own);
	push @writes, '(NOT ' . is_word($w, $t, 'group') . ' OR ' . member($w, $me, "$t.grp") . ')'
	  if $worded;

	if ($table eq 'comments')
	{
		my $parent = by_hand($w, 'posts', 'p', $caller)->{sees};
		my $seen = "EXISTS (SELECT FROM app.posts p WHERE p.id = $t.post_id AND $parent)";
		push @shared, $seen;
		push @writes, $seen;
	}
	my $sees = "($all OR $own OR " . join(' AND ', @shared) . ')';
	return {
		sees => $sees,
		deletes => "($sees AND ($all OR $own))",
		updates => "($sees AND ($all OR $own) AND ($all OR " . join(' AND ', @writes) . '))',
		inserts => '(' . join(' AND ', @writes) . ')'
	};
}



# name => [ statement under the policies, the same by hand ]
sub questions
{
	my ($w, $caller) = @_;
	my $list = 'app.listed(VARIADIC array_agg(t.id))';
	my %q;
	foreach my $table (qw(posts comments))
	{
		my $hand = by_hand($w, $table, 't', $caller);
		my $from = "SELECT $list FROM app.$table t";
		my $some = 'ARRAY(SELECT g FROM generate_series(1, 400, 9) g)';
		my $columns = 'id, author, visibility, grp, deleted_at, post_id';
		$q{"$table seen"} = [ $from, "$from WHERE $hand->{sees}" ];
		$q{"$table deleted"} = [
			"WITH t AS (DELETE FROM app.$table RETURNING id) SELECT $list FROM t",
			"$from WHERE $hand->{deletes}"
		];
		$q{"$table updated"} = [
			"SELECT app.written($some, 'UPDATE app.$table SET post_id = post_id WHERE id = \$1')",
			"$from WHERE $hand->{updates} AND t.id = ANY ($some)"
		];
		$q{"$table inserted"} = [
			"SELECT app.written(ARRAY(SELECT id FROM app.tried),
				'INSERT INTO app.$table ($columns) SELECT $columns FROM app.tried WHERE id = \$1')",
			"SELECT $list FROM app.tried t WHERE $hand->{inserts}"
		];
		$q{"$table by a child"} = [ "SELECT $list FROM app.${table}_0 t", "SELECT '-'" ]
		  if $w->{$table} ne 'plain';
	}
	my $me = $caller->{id};
	my $least = int rand 3;
	my $role = quoted($w->{roles}[$least]);
	# read below policies: the table has none
	my %asked = (
		following => [ 'cozi.is_following(t.author)', follows($w, $me, 't.author') ],
		member => [ 'cozi.is_member(t.grp)', member($w, $me, 't.grp') ],
		role => [ "cozi.has_edge_role('member', t.grp, $role)", member($w, $me, 't.grp', $least) ],
		blocked => [ 'cozi.has_blocked(t.author)', blocks($me, 't.author') ],
		blocked_by => [ 'cozi.is_blocked_by(t.author)', blocks('t.author', $me) ],
		neither => [
			'cozi.is_following(t.author) OR cozi.is_member(t.grp)',
			follows($w, $me, 't.author') . ' OR ' . member($w, $me, 't.grp')
		]);
	# an oracle that is wrong must be noticed
	my $from = 'EXISTS (SELECT FROM app';
	my %wrong = (
		following => [ $asked{following}[0], "$from.follows WHERE src = $me AND dst = t.author)" ],
		member => [ $asked{member}[0], "$from.members WHERE usr = $me AND grp = t.grp)" ],
		blocked => [ $asked{blocked}[0], blocks('t.author', $me) ]);
	%asked = (%asked, map { ("$_ by a wrong oracle" => $wrong{$_}) } keys %wrong);
	$q{"asked $_"} = [ map { "SELECT $list FROM app.tried t WHERE $_" } @{ $asked{$_} } ]
	  for keys %asked;
	return \%q;
}

# One without a login, a moderator with edges, and others by chance.
sub callers
{
	my ($w) = @_;
	my @callers = map { { n => $_ } } 1 .. $people, 77;
	push @callers, map { { n => $_, moderator => 1 } } 3, 78, 9;
	push @callers, { n => undef };
	foreach my $caller (@callers)
	{
		$caller->{id} = literal($w, $caller->{n}) . "::$w->{id}";
		$caller->{token} = token(id($w, $caller->{n}), $caller->{moderator} && '"role":"moderator"')
		  if defined $caller->{n};
	}
	my @by_chance = shuffle @callers[ 0 .. $#callers - 2 ];
	return shuffle @callers[ -2, -1 ], @by_chance[ 0 .. $each - 3 ];
}

# A session of one kind of plan: what is prepared once is asked by every caller.
sub script
{
	my ($w, $plan) = @_;
	my $sql = "SET plan_cache_mode = force_${plan}_plan;\n";
	$sql .= "SET enable_seqscan = off;\n" if chance(0.5);
	my %prepared;
	foreach my $caller (callers($w))
	{
		my $q = questions($w, $caller);
		my $who = ($caller->{n} // 'no one') . ($caller->{moderator} ? ', moderator' : '');
		my @names = shuffle sort keys %$q;
		my @asked = map { $prepared{ $q->{$_}[0] } //= 'q' . keys %prepared } @names;
		$sql .= "BEGIN ISOLATION LEVEL REPEATABLE READ;\n";
		$sql .= "SELECT FROM cozi.login('$caller->{token}');\n" if $caller->{token};
		$sql .= "SET LOCAL ROLE app;\n";
		$sql .= "SAVEPOINT s;\nEXECUTE $asked[$_] \\gset ${plan}_${_}_\nROLLBACK TO s;\n"
		  for 0 .. $#names;
		$sql .= "RESET ROLE;\n";
		$sql .= "SELECT '=', '$who', '$names[$_]', a = b, b = '-', CASE WHEN a <> b THEN
			'policies: ' || a || ' by hand: ' || b END
			FROM (SELECT :'${plan}_${_}_said', ($q->{ $names[$_] }[1])) AS x (a, b);\n"

		  for 0 .. $#names;
		$sql .= "ROLLBACK;\n";
	}
	my $prepare = join '', map { "PREPARE $prepared{$_} AS SELECT ($_) AS said;\n" }
	  grep { !/^WITH/ } sort keys %prepared;
	$prepare .= join '',
	  map { "PREPARE $prepared{$_} AS " . s/(SELECT app.*?\)) FROM/$1 AS said FROM/r . ";\n" }
	  grep { /^WITH/ } sort keys %prepared;
	return "$prepare$sql";
}

my ($compared, %rows, %noticed);
foreach my $n (1 .. $worlds)
{
	my $w = new_world($n);
	set_up($w);
	foreach my $plan (qw(custom generic))
	{
		my ($rc, $out, $err) = $node->psql($w->{db}, script($w, $plan), on_error_stop => 1);
		is($err, '', "$w->{db}: no question raises an error under $plan plans");
		my @differ;
		foreach my $line (grep { /^=/ } split /\n/, $out)
		{
			my (undef, $who, $what, $same, $none, $detail) = split /\|/, $line, 6;
			if ($what =~ /wrong/)
			{
				$noticed{$what} += $same ne 't';
				next;
			}
			$compared++;
			$rows{$what} += $none eq 'f';
			push @differ, "caller $who, $what: $detail" if $same ne 't';
		}
		is(join("\n", splice @differ, 0, 5),
			'', "$w->{db}: policies and plain SQL agree under $plan plans")
		  or diag("COZI_SEED=$seed");
	}
	$node->safe_psql('postgres', "DROP DATABASE $w->{db}");
}
cmp_ok($compared, '>=', $worlds * 2 * $each * 14, 'every caller asked every question');
is(join(', ', grep { !$rows{$_} && !/child/ } sort keys %rows),
	'', 'every question had an answer with rows');
is(join(', ', grep { !$noticed{$_} } sort keys %noticed),
	'', 'every oracle that is wrong is noticed');
note("$compared answers compared");

$node->stop;
done_testing();
