package forebay.nexmark;

import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.connector.source.ScanTableSource;
import org.apache.flink.table.connector.source.SourceProvider;
import org.apache.flink.table.connector.source.abilities.SupportsProjectionPushDown;
import org.apache.flink.table.factories.DynamicTableSourceFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;

/** The SQL connector `nexmark`: options `stream`, `rows`, `seed`, `rate` and `out-of-order`, as in Forebay's job file. */
public final class RowsTable implements DynamicTableSourceFactory {
    private static final ConfigOption<String> STREAM = ConfigOptions.key("stream").stringType().noDefaultValue();
    private static final ConfigOption<Long> ROWS = ConfigOptions.key("rows").longType().noDefaultValue();
    private static final ConfigOption<Long> SEED = ConfigOptions.key("seed").longType().defaultValue(0L);
    private static final ConfigOption<Long> RATE = ConfigOptions.key("rate").longType().defaultValue(10_000L);
    private static final ConfigOption<Long> OUT_OF_ORDER = ConfigOptions.key("out-of-order").longType().defaultValue(1L);

    @Override
    public String factoryIdentifier() {
        return "nexmark";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(STREAM, ROWS);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(SEED, RATE, OUT_OF_ORDER);
    }

    @Override
    public DynamicTableSource createDynamicTableSource(Context context) {
        FactoryUtil.TableFactoryHelper helper = FactoryUtil.createTableFactoryHelper(this, context);
        helper.validate();
        ReadableConfig options = helper.getOptions();
        Rows.Settings settings = new Rows.Settings();
        settings.stream = options.get(STREAM);
        settings.rows = options.get(ROWS);
        settings.seed = options.get(SEED);
        settings.rate = options.get(RATE);
        settings.outOfOrder = options.get(OUT_OF_ORDER);
        int columns = DataType.getFieldCount(context.getPhysicalRowDataType());
        settings.columns = java.util.stream.IntStream.range(0, columns).toArray();
        return new Table(settings);
    }

    private static final class Table implements ScanTableSource, SupportsProjectionPushDown {
        private final Rows.Settings settings;

        Table(Rows.Settings settings) {
            this.settings = settings;
        }

        @Override
        public boolean supportsNestedProjection() {
            return false;
        }

        @Override
        public void applyProjection(int[][] projected, DataType type) {
            settings.columns = java.util.Arrays.stream(projected).mapToInt(path -> path[0]).toArray();
        }

        @Override
        public ChangelogMode getChangelogMode() {
            return ChangelogMode.insertOnly();
        }

        @Override
        public ScanRuntimeProvider getScanRuntimeProvider(ScanContext context) {
            return SourceProvider.of(new RowsSource(settings));
        }

        @Override
        public DynamicTableSource copy() {
            return new Table(settings.copy());
        }

        @Override
        public String asSummaryString() {
            return "nexmark " + settings.stream;
        }
    }
}
