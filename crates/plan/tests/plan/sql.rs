//! SQL queries as steps, and what is said about those that cannot be.

use forebay_plan::sql::steps;

fn said(query: &str) -> String {
    match steps(query, &["df".to_string(), "other".to_string()]) {
        Err(error) => format!("    {}\n", error.chain()),
        Ok(steps) => steps
            .iter()
            .enumerate()
            .map(|(place, step)| format!("    {place} {:?} {}\n", step.from, serde_json::json!(step.action)))
            .collect(),
    }
}

fn all(queries: &[&str]) -> String {
    queries.iter().map(|query| format!("{query}\n{}", said(query))).collect()
}

#[test]
fn queries_become_steps() {
    let said = all(&[
        "SELECT * FROM df",
        "select a, b * 2 as Twice, d.\"c d\" from df as d where d.a > 1 and b is not null",
        "SELECT *, upper(name) AS name FROM df",
        "SELECT df.* FROM df LIMIT 10",
        "SELECT shop, count(*) AS sales, sum(price) / count(*) AS mean FROM df WHERE price > 0 GROUP BY shop",
        "SELECT n % 3 AS part, max(x) AS most FROM df GROUP BY part HAVING count(*) > 1 AND part < 2",
        "SELECT shop AS s, count(DISTINCT x) FILTER (WHERE x > 1) AS xs FROM df GROUP BY shop, n % 2",
        "SELECT sum(x) + 1 AS more, sum(x) AS total FROM df",
        "SELECT max(a) AS b, a FROM df GROUP BY a",
        "SELECT user, window_start, count(*) AS clicks FROM df GROUP BY user, tumble(INTERVAL '1' MINUTE)",
        "SELECT window_end AS till, avg(x) AS x FROM df GROUP BY hop(INTERVAL '10 seconds', INTERVAL '1 minute')",
        "SELECT count(*) AS rows FROM df GROUP BY session(INTERVAL 30 SECOND)",
        "SELECT a FROM df UNION ALL SELECT a FROM other UNION ALL (SELECT a FROM df LIMIT 3)",
        "WITH x AS (SELECT a FROM df), y AS (SELECT * FROM x WHERE a > 1) SELECT a FROM y UNION ALL SELECT a FROM x",
        "SELECT b.m AS m FROM (SELECT max(a) AS m FROM df) AS b",
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn what_is_no_step_is_refused_by_name() {
    let said = all(&[
        "SELEC a FROM df",
        "DROP TABLE df",
        "SELECT 1; SELECT 2",
        "SELECT 1 AS one",
        "SELECT a FROM nothing",
        "SELECT a FROM x.df",
        "SELECT a FROM df, other",
        "SELECT a FROM df JOIN other ON df.a = other.a",
        "SELECT a FROM df ORDER BY a",
        "SELECT DISTINCT a FROM df",
        "SELECT a FROM df UNION SELECT a FROM other",
        "SELECT a FROM df EXCEPT SELECT a FROM other",
        "SELECT a FROM df LIMIT 3 OFFSET 2",
        "SELECT a FROM df LIMIT 0",
        "SELECT a AS x, b AS x FROM df",
        "SELECT *, a AS x, sum(b) AS x FROM df GROUP BY a",
        "SELECT a FROM df LIMIT (SELECT 1)",
        "SELECT a FROM df TABLESAMPLE BERNOULLI (10)",
        "SELECT a + 1 FROM df",
        "SELECT a, * FROM df",
        "SELECT * EXCLUDE (a) FROM df",
        "SELECT df.x.y FROM df",
        "SELECT other.a FROM df",
        "SELECT a FROM df WHERE a IN (SELECT a FROM other)",
        "SELECT row_number() OVER (ORDER BY a) AS n FROM df",
        "SELECT a FROM df QUALIFY row_number() OVER (ORDER BY a) = 1",
        "SELECT a, count(*) AS n FROM df",
        "SELECT a FROM df GROUP BY a",
        "SELECT *, count(*) AS n FROM df GROUP BY a",
        "SELECT a, count(*) FROM df GROUP BY a",
        "SELECT a, count(*) AS n FROM df GROUP BY 1",
        "SELECT a, count(*) AS n FROM df GROUP BY ALL",
        "SELECT a, count(*) AS n FROM df GROUP BY ROLLUP (a)",
        "SELECT sum(a) AS s, count(*) AS n FROM df GROUP BY s",
        "SELECT count(*) AS n FROM df GROUP BY tumble(at, INTERVAL '1 minute')",
        "SELECT count(*) AS n FROM df GROUP BY tumble(INTERVAL '1 minute'), session(INTERVAL '1 minute')",
        "WITH RECURSIVE x AS (SELECT a FROM df) SELECT a FROM x",
        "SELECT a FROM df AS d (b)",
        "VALUES (1)",
        "SELECT a FROM unnest(b)",
    ]);
    insta::assert_snapshot!(said);
}
