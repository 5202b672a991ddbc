# shard_of($1, $2) with parameters that no one casts, as node-postgres sends
# them: as text, with no type, for the server to infer.  test/run finds node-pg
# for the files that name it.
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
$node->stop;
done_testing();
