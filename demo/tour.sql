-- The tour: one chapter a domain, each readable on its own.
\ir tour/trending.sql
\ir tour/counter.sql
\ir tour/feeds.sql
\ir tour/analytics.sql
\ir tour/ratelimit.sql
\ir tour/sharding.sql
\ir tour/monitor.sql
\ir tour/rls.sql
\ir tour/advisor.sql
