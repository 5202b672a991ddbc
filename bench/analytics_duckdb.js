// analytics_duckdb.js DIRECTORY EVENTS.csv: the same questions, asked of DuckDB.
//
// DIRECTORY has node_modules/@duckdb/node-api.  The events are loaded into a table
// in memory; one thread; the median of three runs.  Prints a line of JSON: for each
// question its name, milliseconds, and how many rows.
const { createRequire } = require('module');
const { DuckDBInstance } = createRequire(process.argv[2] + '/')('@duckdb/node-api');

const active = '(SELECT DISTINCT user_id, created_at::date AS day FROM events)';
const questions = {
	mau: `SELECT count(DISTINCT user_id) FROM events
		WHERE created_at >= '2026-03-01' AND created_at < '2026-04-01'`,
	dau: 'SELECT created_at::date, count(DISTINCT user_id) FROM events GROUP BY 1 ORDER BY 1',
	retention: `WITH active AS ${active},
		first AS (SELECT user_id, min(day) AS cohort FROM active GROUP BY 1)
		SELECT cohort, day - cohort, count(*) FROM first JOIN active USING (user_id)
		GROUP BY 1, 2 ORDER BY 1, 2`,
};

async function main() {
	const connection = await (await DuckDBInstance.create(':memory:')).connect();
	await connection.run('SET threads = 1');
	await connection.run(`CREATE TABLE events AS SELECT * FROM read_csv('${process.argv[3]}',
		columns = {user_id: 'BIGINT', event: 'VARCHAR', created_at: 'TIMESTAMP'}, header = false)`);
	for (const [name, sql] of Object.entries(questions)) {
		const times = [];
		let rows = 0;
		for (let i = 0; i < 4; i++) {
			const began = process.hrtime.bigint();
			rows = (await connection.runAndReadAll(sql)).currentRowCount;
			times.push(Number(process.hrtime.bigint() - began) / 1e6);
		}
		const ms = times.slice(1).sort((a, b) => a - b)[1];
		console.log(JSON.stringify({ name, ms, rows }));
	}
}
main().catch((error) => { console.error(error); process.exit(1); });
