# shard_of($1, $2) with parameters that no one casts: node-postgres sends them as
# text, with no type, for the server to infer; psycopg2 writes literals; psycopg
# sends the type of the smallest integer that holds a number, and texts with none;
# asyncpg asks the server, which says text.  test/run finds node-pg for the files
# that name it.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('drivers');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION cozi');

my $file = $node->basedir . '/drivers.js';
append_to_file($file, <<'END');
const { Client } = require('pg');
const uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11';
const asked = [
  ['shard_of($1, $2)', [42, 1024]],
  ['shard_of($1, $2)', ['42', '1024']],
  ['shard_of($1, $2)', [42n, 1024]],
  ['shard_of($1, $2)', [9007199254740993n, 1024]],
  ['shard_of($1, $2)', [null, 1024]],
  ['shard_of($1::uuid, $2)', [uuid, 1024]],
  ['shard_of_text($1, $2)', ['42', 1024]],
  ['shard_of($1, $2)', [uuid, 1024]],
  ['shard_of($1, $2)', ['ann', 1024]],
];
(async () => {
  const client = new Client();
  await client.connect();
  for (const prepared of [false, true]) {
    for (const [call, values] of asked) {
      const query = { text: `SELECT cozi.${call} AS shard`, values };
      if (prepared) query.name = call;
      try {
        console.log((await client.query(query)).rows[0].shard);
      } catch (error) {
        console.log(error.code);
      }
    }
  }
  await client.end();
})();
END

my $literals = $node->safe_psql('postgres', <<'END');
\pset null null
SELECT cozi.shard_of(42, 1024);
SELECT cozi.shard_of(42, 1024);
SELECT cozi.shard_of(42, 1024);
SELECT cozi.shard_of(9007199254740993, 1024);
SELECT NULL;
SELECT cozi.shard_of('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 1024);
SELECT cozi.shard_of_text('42', 1024);
SELECT cozi.shard_of('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 1024);
END
my $expected = join "\n", ($literals, '22P02') x 2;
local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres',
	PGUSER => $node->safe_psql('postgres', 'SELECT current_user'));
my ($out, $err) = ('', '');
IPC::Run::run([ 'node', $file ], '>', \$out, '2>', \$err) or $out .= $err;
$out =~ s/\s+$//;
is($out, $expected, 'node-postgres routes a number or a uuid without a cast as the server routes '
	  . 'one with a type, and a name is an error');

# An id as each driver of Python takes it, and as a string; then a uuid and a name.
my $python = $node->basedir . '/drivers.py';
append_to_file($python, <<'END');
import asyncio, uuid
import asyncpg, psycopg, psycopg2, psycopg2.extras

uid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
values = [(7, 64), (42, 1024), (70000, 1024), (9007199254740993, 1024), ('42', 1024),
          (uid, 1024), (uuid.UUID(uid), 1024), (None, 1024), ('ann', 1024)]

def one(call):
    try:
        return str(call())
    except Exception as error:
        state = getattr(error, 'sqlstate', None) or getattr(error, 'pgcode', None)
        return state or type(error).__name__

def sync(driver, connection):
    psycopg2.extras.register_uuid()
    connection.autocommit = True
    cursor = connection.cursor()
    def call(pair):
        cursor.execute('SELECT cozi.shard_of(%s, %s)', pair)
        return cursor.fetchone()[0]
    print(driver, *[one(lambda: call(pair)) for pair in values])

async def asynchronous(query, convert):
    connection = await asyncpg.connect()
    answers = []
    for user, modulus in values:
        try:
            answers.append(str(await connection.fetchval(query, convert(user), modulus)))
        except Exception as error:
            answers.append(getattr(error, 'sqlstate', None) or type(error).__name__)
    await connection.close()
    return answers

sync('psycopg2', psycopg2.connect(''))
sync('psycopg', psycopg.connect(''))
text = lambda user: None if user is None else str(user)
print('asyncpg', *asyncio.run(asynchronous('SELECT cozi.shard_of($1, $2)', text)))
print('asyncpg, not a string', *asyncio.run(asynchronous('SELECT cozi.shard_of($1, $2)',
                                                         lambda user: user)))
END
my @routes = split /\n/, $node->safe_psql('postgres', <<'END');
SELECT cozi.shard_of(7, 64);
SELECT cozi.shard_of(42, 1024);
SELECT cozi.shard_of(70000, 1024);
SELECT cozi.shard_of(9007199254740993, 1024);
SELECT cozi.shard_of(42, 1024);
SELECT cozi.shard_of('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 1024);
SELECT cozi.shard_of('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 1024);
END
my $routes = join ' ', @routes, 'None', '22P02';
($out, $err) = ('', '');
IPC::Run::run([ 'python3', $python ], '>', \$out, '2>', \$err) or $out .= $err;
my %said = map { /^(.*?) ((?:\S+ ){8}\S+)$/ ? ($1, $2) : ($_, '') } split /\n/, $out;
for my $driver (qw(psycopg2 psycopg asyncpg))
{
	is($said{$driver}, $routes,
		"$driver routes a number or a uuid without a cast as the server routes one with a type");
}
my $strings = join ' ', ('22000') x 4, @routes[ 4, 5 ], '22000', 'None', '22P02';
is($said{'asyncpg, not a string'}, $strings, 'asyncpg sends a number as a string only');
$node->stop;
done_testing();
