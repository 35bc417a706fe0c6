package forebay.nexmark;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.api.connector.source.lib.util.IteratorSourceEnumerator;
import org.apache.flink.api.connector.source.lib.util.IteratorSourceReader;
import org.apache.flink.api.connector.source.lib.util.IteratorSourceSplit;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.table.data.RowData;

/** Reads {@link Rows} with one split a subtask; splits advance side by side in event time, block by block. */
final class RowsSource implements Source<RowData, RowsSource.Split, Collection<RowsSource.Split>> {
    /** Places in a row that belong to one split, as in Forebay. */
    private static final long BLOCK = 5000;

    private final Rows.Settings settings;

    RowsSource(Rows.Settings settings) {
        this.settings = settings;
    }

    @Override
    public Boundedness getBoundedness() {
        // The end comes all the same; a bounded source would let the planner choose batch operators.
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SplitEnumerator<Split, Collection<Split>> createEnumerator(SplitEnumeratorContext<Split> context) {
        List<Split> splits = new ArrayList<>();
        int count = context.currentParallelism();
        for (int number = 0; number < count; number++) {
            splits.add(new Split(settings, number, count, number * BLOCK));
        }
        return new IteratorSourceEnumerator<>(context, splits);
    }

    @Override
    public SplitEnumerator<Split, Collection<Split>> restoreEnumerator(
            SplitEnumeratorContext<Split> context, Collection<Split> splits) {
        return new IteratorSourceEnumerator<>(context, splits);
    }

    @Override
    public SourceReader<RowData, Split> createReader(SourceReaderContext context) {
        return new IteratorSourceReader<>(context);
    }

    @Override
    public SimpleVersionedSerializer<Split> getSplitSerializer() {
        return new JavaSerializer<>();
    }

    @Override
    public SimpleVersionedSerializer<Collection<Split>> getEnumeratorCheckpointSerializer() {
        return new JavaSerializer<>();
    }

    /** Every `count`th block from block `number` on, read up to `place`. */
    static final class Split implements IteratorSourceSplit<RowData, Places>, Serializable {
        final Rows.Settings settings;
        final long number;
        final long count;
        final long place;

        Split(Rows.Settings settings, long number, long count, long place) {
            this.settings = settings;
            this.number = number;
            this.count = count;
            this.place = place;
        }

        @Override
        public String splitId() {
            return Long.toString(number);
        }

        @Override
        public Places getIterator() {
            return new Places(this);
        }

        @Override
        public IteratorSourceSplit<RowData, Places> getUpdatedSplitForIterator(Places places) {
            return new Split(settings, number, count, places.place);
        }
    }

    /** The rows of a split; `place` is the next one's. */
    static final class Places implements Iterator<RowData> {
        private final Rows rows;
        private final long end;
        private final long skip;
        private long place;

        Places(Split split) {
            this.rows = new Rows(split.settings);
            this.end = split.settings.rows;
            this.skip = (split.count - 1) * BLOCK;
            this.place = split.place;
            seek();
        }

        private void seek() {
            while (place < end && !rows.mine(rows.at(place))) {
                step();
            }
        }

        private void step() {
            place++;
            if (place % BLOCK == 0) {
                place += skip;
            }
        }

        @Override
        public boolean hasNext() {
            return place < end;
        }

        @Override
        public RowData next() {
            RowData row = rows.row(rows.at(place));
            step();
            seek();
            return row;
        }
    }

    private static final class JavaSerializer<T> implements SimpleVersionedSerializer<T> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(T value) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
                out.writeObject(value instanceof Collection<?> list ? new ArrayList<>(list) : value);
            }
            return bytes.toByteArray();
        }

        @Override
        @SuppressWarnings("unchecked")
        public T deserialize(int version, byte[] stored) throws IOException {
            try (ObjectInputStream in = new ObjectInputStream(new ByteArrayInputStream(stored))) {
                return (T) in.readObject();
            } catch (ClassNotFoundException error) {
                throw new IOException(error);
            }
        }
    }
}
