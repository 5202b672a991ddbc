package StandIn;

# StandIn.pm: modules of node that the pages of doc/ use and that are not here, played.
# Of React the hooks, with one state; of supabase-js the table and the channel of a page,
# which is told what stands in realtime.messages.

use strict;
use warnings;

our %module = (
	express => 'module.exports = () => ({ use() {}, get() {}, post() {}, listen() {} });',
	react => q{
		exports.useEffect = (effect) => { effect(); };
		exports.useState = (value) => {
			globalThis.state = value;
			return [value, (next) => {
				globalThis.state = typeof next === 'function' ? next(globalThis.state) : next;
			}];
		};
	},
	'@supabase/supabase-js' => q{
		const { Client } = require('pg');
		async function query(sql, values) {
			const client = new Client();
			await client.connect();
			const { rows } = await client.query(sql, values);
			await client.end();
			return rows;
		}
		exports.createClient = () => ({
			from: (table) => ({
				async select(columns) {
					return { data: await query(`SELECT ${columns} FROM ${table}`) };
				},
			}),
			channel: (topic, { config }) => ({
				on(type, { event }, hear) {
					this.hear = (row) => type === 'broadcast' && event === row.event && hear(row);
					return this;
				},
				subscribe(told) {
					query(`SELECT event, payload FROM realtime.messages
						WHERE topic = $1 AND private = $2 ORDER BY id`, [topic, config.private])
						.then(async (rows) => {
							await told('SUBSCRIBED');
							rows.forEach(this.hear);
						});
					return this;
				},
			}),
			removeChannel() {},
		});
	});

1;
