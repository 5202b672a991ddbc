# The Python and the JavaScript of doc/sharding.md reproduce every vector.
use strict;
use warnings;
use File::Temp;
use Test::More;

sub slurp { my $f = shift; open(my $h, '<:raw', $f) or die "$f: $!"; local $/; return <$h>; }

my $page = slurp('doc/sharding.md');
my $dir = File::Temp->newdir;

# What follows each client: read the vectors, print one line a file.
my %client = (
	python => [ 'python3', <<'END'],
import csv, sys
cast = {'int4': int, 'int8': int, 'uuid': uuid.UUID, 'text': str}
for typ in cast:
    rows = list(csv.DictReader(open(f'test/vectors/shard_{typ}.csv', encoding='utf-8', newline='')))
    wrong = [r['key'] for r in rows for key in [cast[typ](r['key'])]
             if shard_hash(key) != int(r['hash64'])
             or any(shard_of(key, m) != int(r[f'm{m}']) for m in (4, 16, 64, 1024))]
    print(typ, len(rows), len(wrong), *wrong[:3])
END
	js => [ 'node', <<'END']);
const cast = { int4: BigInt, int8: BigInt, uuid: uuidBytes, text: s => s };
for (const type in cast) {
  const rows = require('fs').readFileSync(`test/vectors/shard_${type}.csv`, 'utf8')
    .trimEnd().split('\n').slice(1)
    .map(line => /^"((?:[^"]|"")*)",(\d+),(\d+),(\d+),(\d+),(\d+)$/.exec(line));
  const wrong = rows.filter(([, quoted, hash, ...remainders]) => {
    const key = cast[type](quoted.replaceAll('""', '"'));
    return shardHash(key) !== BigInt(hash)
      || [4, 16, 64, 1024].some((m, i) => shardOf(key, m) !== Number(remainders[i]));
  });
  console.log(type, rows.length, wrong.length, ...wrong.slice(0, 3).map(row => row[1]));
}
END

for my $language (sort keys %client)
{
	my ($command, $driver) = @{ $client{$language} };
	my @blocks = $page =~ /^```$language\n(.*?)^```$/gms;
	is(scalar(@blocks), 1, "the page has one $language client");
	my $file = "$dir/client.$language";
	open(my $h, '>:raw', $file) or die $!;
	print $h $blocks[0], $driver;
	close $h;
	is( qx($command $file 2>&1),
		"int4 500 0\nint8 500 0\nuuid 500 0\ntext 500 0\n",
		"$language agrees with all 2,000 vectors");
}

# What is no key, or is none that the server would take, is an error and no shard.
my %bad = (
	python => <<'END',
for key in (2**63, -2**63 - 1, 1.5, None, [1], {}):
    try:
        print('routed', repr(key), shard_of(key, 1024))
    except (OverflowError, TypeError, AttributeError, struct.error) as error:
        print('refused')
for text in ('{017f22e2-79b0-7cc3-98c4-dc0c0c07398', '', 'ann', '017f22e2-79b0-7cc3-98c4'):
    try:
        print('routed', shard_of(uuid.UUID(text), 1024))
    except ValueError:
        print('refused')
END
	js => <<'END');
const keys = [2n ** 63n, -(2n ** 63n) - 1n, 1.5, NaN, Infinity, 2 ** 53, null, undefined, {}, true];
for (const key of keys) {
  try { console.log('routed', key, shardOf(key, 1024)); } catch (error) { console.log('refused'); }
}
const uuid = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f';
for (const text of [`{${uuid}}`, ` ${uuid}`, uuid.replaceAll('-', ''), '', 'ann']) {
  try {
    console.log('routed', shardOf(uuidBytes(text), 1024));
  } catch (error) {
    console.log('refused');
  }
}
END
for my $language (sort keys %bad)
{
	my ($block) = $page =~ /^```$language\n(.*?)^```$/ms;
	my $file = "$dir/bad.$language";
	open(my $h, '>:raw', $file) or die $!;
	print $h $block, $bad{$language};
	close $h;
	my $said = qx($client{$language}[0] $file 2>&1);
	unlike($said, qr/^(?!refused$)/m, "$language refuses what is no key");
}

done_testing();
