# Keys rotate while four sessions log in without a pause: a session that has seen that
# a key is retired gets no login with it, and no good token is ever refused.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

my $keys = $ENV{COZI_LONG} ? 1000 : 60;
my $node = PostgreSQL::Test::Cluster->new('rotation');
$node->init;
$node->start;
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION cozi;
CREATE TABLE tokens (n int PRIMARY KEY, token text);
CREATE TABLE rotation (retired int, newest int, over boolean DEFAULT false);
CREATE TABLE answers (right_login int, right_refusal int, retired_login int, good_refusal int);
CREATE PROCEDURE watch() LANGUAGE plpgsql AS $$
DECLARE
    before rotation;
    after rotation;
    a answers = (0, 0, 0, 0);
BEGIN
    LOOP
        SELECT * INTO before FROM rotation;
        EXIT WHEN before.over;
        BEGIN
            PERFORM cozi.login(token) FROM tokens WHERE n = before.retired;
            a.retired_login = a.retired_login + 1;
        EXCEPTION WHEN invalid_authorization_specification THEN
            a.right_refusal = a.right_refusal + 1;
        END;
        BEGIN
            PERFORM cozi.login(token) FROM tokens WHERE n = before.newest;
            a.right_login = a.right_login + 1;
        EXCEPTION WHEN invalid_authorization_specification THEN
            SELECT * INTO after FROM rotation;
            IF after.retired < before.newest THEN
                a.good_refusal = a.good_refusal + 1;
            END IF;
        END;
        COMMIT;
    END LOOP;
    INSERT INTO answers SELECT a.*;
END $$;
END

my @values = map {
	"($_, '"
	  . token(
		'ann', '',
		sprintf('the secret of the rotation, number %05d', $_),
		qq({"alg":"HS256","kid":"$_"}))
	  . "')"
} 0 .. $keys;
$node->safe_psql('postgres', 'INSERT INTO tokens VALUES ' . join(', ', @values));
$node->safe_psql('postgres', <<'END');
SELECT cozi.add_secret('the secret of the rotation, number 00000', '0');
SELECT cozi.retire_key('0');
SELECT cozi.add_secret('the secret of the rotation, number 00001', '1');
INSERT INTO rotation VALUES (0, 1);
END

my @watchers = map {
	IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', 'CALL watch()' ],
		'<', \undef, '>&', $node->basedir . "/watch.$_")
} 1 .. 4;
$node->safe_psql('postgres', <<"END");
DO \$\$
BEGIN
    FOR n IN 2 .. $keys LOOP
        PERFORM cozi.add_secret('the secret of the rotation, number '
            || lpad(n::text, 5, '0'), n::text);
        UPDATE rotation SET newest = n;
        COMMIT;
        PERFORM pg_sleep(0.01);
        PERFORM cozi.retire_key((n - 1)::text);
        UPDATE rotation SET retired = n - 1;
        COMMIT;
        PERFORM pg_sleep(0.01);
        -- old rows go now and then, as an administrator would
        IF n % 20 = 0 THEN
            DELETE FROM cozi.jwks WHERE retired_at < clock_timestamp() - interval '1 second';
        END IF;
    END LOOP;
    UPDATE rotation SET over = true;
END \$\$;
END
$_->finish for @watchers;
my ($n, $login, $refusal, $retired, $good) = split /\|/,
  $node->safe_psql('postgres',
	'SELECT count(*), sum(right_login), sum(right_refusal), sum(retired_login), '
	  . 'sum(good_refusal) FROM answers'
  );
is($n, 4, 'four sessions watched');
cmp_ok($login, '>', $keys, "the sessions logged in $login times");
cmp_ok($refusal, '>', $keys, "the sessions were refused $refusal times");
is($retired, 0, 'no session logged in with a key that it knew to be retired');
is($good, 0, 'no session was refused with a key that was in use');

$node->stop;
done_testing();
