# JDBC, word for word from doc/rls.md: straight and through PgBouncer.  JDBC
# speaks TCP only, so this server and this pooler listen on the loopback.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Token;
use Test::More;

my $jar = '/usr/share/java/postgresql.jar';
plan skip_all => 'no Java compiler or JDBC driver'
  if !-e $jar || system('command -v javac >/dev/null 2>&1') != 0;

my $node = PostgreSQL::Test::Cluster->new('jdbc');
$node->init;
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
$node->start;
$node->safe_psql('postgres', <<"END");
CREATE EXTENSION cozi;
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA cozi TO app;
SELECT cozi.add_secret('$secret');
CREATE TABLE posts (id int, author text);
INSERT INTO posts VALUES (1, 'ann'), (2, 'bob'), (3, 'ann');
ALTER TABLE posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON posts USING (author = cozi.uid_text());
GRANT SELECT ON posts TO app;
END

slurp_file('doc/rls.md') =~ /^```java\n\/\/ JDBC\n(.*?)^```$/ms
  or die 'doc/rls.md has no block "JDBC"';
my $block = $1;
my $dir = $node->basedir;
my ($ann, $bob, $bad) =
  (token('ann'), token('bob'), token('ann', '', 'another secret, of 32 bytes or more'));
append_to_file("$dir/Client.java", <<"END");
import java.sql.*;
import java.util.*;

public class Client {
$block
    public static void main(String[] args) throws Exception {
        try (Connection conn = DriverManager.getConnection(args[0])) {
            for (String token : new String[] {"$ann", "$bob", "$bad", "$ann"}) {
                try {
                    System.out.println(postsOf(conn, token));
                } catch (SQLException error) {
                    System.out.println(error.getSQLState());
                }
            }
        }
    }
}
END

my $pool_port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$dir/ini", <<"END");
[databases]
postgres = host=127.0.0.1 port=@{[ $node->port ]} dbname=postgres user=app
[pgbouncer]
pool_mode = transaction
default_pool_size = 1
listen_addr = 127.0.0.1
listen_port = $pool_port
unix_socket_dir =
auth_type = any
auth_file = $dir/users
logfile = $dir/pool.log
pidfile = $dir/pool.pid
ignore_startup_parameters = extra_float_digits
END
append_to_file("$dir/users", qq("app" ""\n));
my $pooler =
  IPC::Run::start([ 'pgbouncer', "$dir/ini" ], '<', \undef, '>', "$dir/out", '2>', "$dir/err");
for (1 .. 100)
{
	last if -e "$dir/pool.pid";
	select(undef, undef, undef, 0.1);
}

my $expected = "[1, 3]\n[2]\n28000\n[1, 3]\n";
for ([ 'straight', $node->port, '' ], [ 'through the pooler', $pool_port, '&prepareThreshold=0' ])
{
	my ($title, $port, $option) = @$_;
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[
			'java', '-cp', $jar, "$dir/Client.java",
			"jdbc:postgresql://127.0.0.1:$port/postgres?user=app$option"
		],
		'>',
		\$out,
		'2>',
		\$err);
	is($out, $expected, "JDBC, $title: everybody's own posts, and an error for a bad token")
	  or diag($err);
}
$pooler->kill_kill;
$node->stop;
done_testing();
