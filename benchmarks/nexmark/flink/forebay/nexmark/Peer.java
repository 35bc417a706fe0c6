package forebay.nexmark;

import java.io.BufferedWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Runs one Nexmark query in a Flink of this process (a mini cluster), to its end.
 *
 * <p>Arguments: the tables (DDL), the query (a SELECT), what to do with its rows, and settings KEY=VALUE of Flink. What to do is
 * `blackhole`, which inserts them into the sink of that name, `explain`, which prints the plan, or a path, where each row
 * is written as a line: its kind, then its fields, separated by tabs.
 */
public final class Peer {
    private Peer() {}

    public static void main(String[] arguments) throws Exception {
        Configuration configuration = new Configuration();
        for (int place = 3; place < arguments.length; place++) {
            String[] pair = arguments[place].split("=", 2);
            configuration.setString(pair[0], pair[1]);
        }
        StreamTableEnvironment tables =
                StreamTableEnvironment.create(StreamExecutionEnvironment.getExecutionEnvironment(configuration));
        for (String statement : read(arguments[0]).split(";")) {
            if (!statement.isBlank()) {
                tables.executeSql(statement);
            }
        }
        String query = read(arguments[1]).strip().replaceAll(";$", "");
        switch (arguments[2]) {
            case "blackhole" -> {
                tables.createTemporaryView("answer", tables.sqlQuery(query));
                tables.executeSql("CREATE TEMPORARY TABLE dropped " + columns(tables) + " WITH ('connector' = 'blackhole')");
                tables.executeSql("INSERT INTO dropped SELECT * FROM answer").await();
            }
            case "explain" -> System.out.println(tables.explainSql(query));
            default -> write(tables.executeSql(query), Path.of(arguments[2]));
        }
    }

    /** A file without its lines of comment, in which a semicolon ends nothing. */
    private static String read(String path) throws Exception {
        return Files.readAllLines(Path.of(path)).stream()
                .filter(line -> !line.startsWith("--"))
                .collect(java.util.stream.Collectors.joining("\n"));
    }

    private static String columns(StreamTableEnvironment tables) {
        return tables.from("answer").getResolvedSchema().getColumns().stream()
                .map(column -> "`" + column.getName() + "` " + column.getDataType().getLogicalType().copy(true)
                        .asSerializableString().replace("*ROWTIME*", "").replace("*PROCTIME*", ""))
                .collect(java.util.stream.Collectors.joining(", ", "(", ")"));
    }

    private static void write(TableResult result, Path path) throws Exception {
        try (CloseableIterator<Row> rows = result.collect();
                BufferedWriter out = Files.newBufferedWriter(path, StandardCharsets.UTF_8)) {
            while (rows.hasNext()) {
                Row row = rows.next();
                out.write(row.getKind().shortString());
                for (int place = 0; place < row.getArity(); place++) {
                    out.write('\t');
                    out.write(String.valueOf(row.getField(place)));
                }
                out.write('\n');
            }
        }
    }
}
