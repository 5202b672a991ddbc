package Policy::Functions;

# Policy/Functions.pm: what the judges and the writers of policy_differential.pl
# call, as SQL.

use strict;
use warnings;
use Exporter 'import';
use Policy::Chance;
use Policy::Oracle;
use Policy::World;

our @EXPORT = qw(functions);

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
    until timestamptz := clock_timestamp() + interval '100 s';
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
        PERFORM pg_advisory_lock_shared(1);    -- it has looked
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

1;
