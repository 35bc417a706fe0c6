package forebay.nexmark;

import java.io.Serializable;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.data.binary.BinaryStringData;

/**
 * The rows of Forebay's Nexmark source, made in Java: the same row for the same seed and number, to the last byte.
 *
 * <p>The rules are those of crates/connectors/src/nexmark, file by file; `run.py` compares the rows of both before it measures.
 */
final class Rows implements Serializable {
    private static final long STEP = 0x9e3779b97f4a7c15L;
    private static final long EVEN = 0x00ff00ff00ff00ffL;
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final int ROUND = 50;
    private static final long STRIDE = 953;
    private static final long FIRST_ID = 1000;
    private static final long LEAD = 10;
    private static final long HOT_EVERY = 100;
    private static final long START_MILLIS = 1_436_918_400_000L;
    private static final int CHANNELS = 10_000;
    private static final double[] PRICE_STEPS = {1.055449600878603, 1.0002108301829544, 1.0000008234689381};
    private static final byte[][] FIRST_NAMES =
            bytes("Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter");
    private static final byte[][] LAST_NAMES =
            bytes("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris");
    private static final StringData[] CITIES =
            texts("Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne");
    private static final StringData[] STATES = texts("AZ", "CA", "ID", "OR", "WA", "WY");

    /** What the rows are like; the defaults are those of Forebay's source. */
    static final class Settings implements Cloneable, Serializable {
        String stream = "bid";
        /** Places of the columns that are made. */
        int[] columns = {};
        long rows = 0;
        long seed = 0;
        long rate = 10_000;
        long outOfOrder = 1;
        long personBytes = 200;
        long auctionBytes = 500;
        long bidBytes = 100;
        long hotAuctions = 2;
        long hotBidders = 4;
        long hotSellers = 4;
        long activePeople = 1000;
        long auctionsInFlight = 100;

        /** The same settings, of whose columns others may be chosen. */
        Settings copy() {
            try {
                return (Settings) clone();
            } catch (CloneNotSupportedException error) {
                throw new AssertionError(error);
            }
        }
    }

    private final Settings settings;
    private final int kind;
    private final int[] columns;
    private final long start;
    private final double[][] prices = new double[3][256];
    private final StringData[] channels;
    private final StringData[] urls;

    Rows(Settings settings) {
        this.settings = settings;
        this.kind = switch (settings.stream) {
            case "person" -> 0;
            case "auction" -> 1;
            case "bid" -> 2;
            default -> throw new IllegalArgumentException("stream " + settings.stream);
        };
        this.columns = settings.columns;
        this.start = mix(settings.seed);
        for (int scale = 0; scale < 3; scale++) {
            prices[scale][0] = 1.0;
            for (int place = 1; place < 256; place++) {
                prices[scale][place] = prices[scale][place - 1] * PRICE_STEPS[scale];
            }
        }
        this.channels = kind == 2 ? new StringData[4 + CHANNELS] : null;
        this.urls = kind == 2 ? new StringData[4 + CHANNELS] : null;
        if (kind == 2) {
            fillChannels();
        }
    }

    /** The number that is read at `place`. */
    long at(long place) {
        long group = settings.outOfOrder;
        return group == 1 ? place : place - place % group + place * STRIDE % group;
    }

    /** Whether the row `number` is of the stream that is read. */
    boolean mine(long number) {
        int place = (int) (number % ROUND);
        return kind == (place < 1 ? 0 : place < 4 ? 1 : 2);
    }

    /** The wanted columns of the row `number`. */
    RowData row(long number) {
        GenericRowData row = new GenericRowData(columns.length);
        for (int place = 0; place < columns.length; place++) {
            int column = columns[place];
            row.setField(place, kind == 0 ? person(column, number) : kind == 1 ? auction(column, number) : bid(column, number));
        }
        return row;
    }

    // === chance ===

    private static long mix(long value) {
        value = (value ^ (value >>> 30)) * 0xbf58476d1ce4e5b9L;
        value = (value ^ (value >>> 27)) * 0x94d049bb133111ebL;
        return value ^ (value >>> 31);
    }

    private long draw(long number, long place) {
        return mix(start + (number * 32 + place) * STEP);
    }

    private static long upper(long draw, long below) {
        return ((draw >>> 32) * below) >>> 32;
    }

    private static long lower(long draw, long below) {
        return ((draw & 0xffffffffL) * below) >>> 32;
    }

    private long price(long draw) {
        double value = prices[0][(int) draw & 255] * prices[1][(int) (draw >>> 8) & 255] * prices[2][(int) (draw >>> 16) & 255];
        return (long) (value * 100.0 + 0.5);
    }

    private static byte[] letters(long draw, int length) {
        byte[] out = new byte[length];
        long state = draw;
        int place = 0;
        for (; place + 8 <= length; place += 8) {
            state += STEP;
            LONGS.set(out, place, eightLetters(mix(state)));
        }
        state += STEP;
        for (long word = eightLetters(mix(state)); place < length; place++, word >>>= 8) {
            out[place] = (byte) word;
        }
        return out;
    }

    /** Each byte `b` as the letter 'a' + b * 26 / 256, four bytes in one multiplication. */
    private static long eightLetters(long bytes) {
        long even = (((bytes & EVEN) * 26) >>> 8) & EVEN;
        long odd = (((bytes >>> 8) & EVEN) * 26) & ~EVEN;
        return (even | odd) + 0x6161616161616161L;
    }

    private static byte[] words(long draw, long lengthMax) {
        int length = 3 + (int) upper(draw, lengthMax - 3);
        byte[] out = new byte[length];
        long state = draw;
        int place = 0;
        while (place < length) {
            state += STEP;
            long word = mix(state);
            for (int end = Math.min(place + 8, length); place < end; place++, word >>>= 8) {
                int value = (int) word & 255;
                out[place] = (byte) (value < 20 ? ' ' : 'a' + (value - 20) * 26 / 236);
            }
        }
        int end = length;
        while (end > 0 && out[end - 1] == ' ') {
            end--;
        }
        int begin = 0;
        while (begin < end && out[begin] == ' ') {
            begin++;
        }
        return java.util.Arrays.copyOfRange(out, begin, end);
    }

    private static StringData extra(long draw, long used, long average) {
        if (used > average) {
            return StringData.fromString("");
        }
        long left = average - used;
        long spread = (left + 2) / 5;
        return text(letters(draw, (int) (left - spread + upper(draw, 2 * spread))));
    }

    // === numbers ===

    private long millis(long number) {
        return START_MILLIS + number * 1000 / settings.rate;
    }

    private static long lastAuction(long number) {
        long round = number / ROUND;
        long place = number % ROUND;
        long there = place < 1 ? 0 : Math.min(place, 3);
        return round * 3 + there - 1;
    }

    private long anyPerson(long draw, long number) {
        long there = number / ROUND + 1;
        long active = Math.min(there, settings.activePeople);
        return FIRST_ID + there - active + upper(draw, active + LEAD);
    }

    // === rows ===

    private Object bid(int column, long number) {
        return switch (column) {
            case 0 -> bidAuction(number);
            case 1 -> bidder(number);
            case 2 -> price(draw(number, 2));
            case 3 -> channels[channel(number)];
            case 4 -> urls[channel(number)];
            case 5 -> TimestampData.fromEpochMillis(millis(number));
            default -> extra(draw(number, 4), 32, settings.bidBytes);
        };
    }

    private long bidAuction(long number) {
        long draw = draw(number, 0);
        long last = Math.max(lastAuction(number), 0);
        if (lower(draw, settings.hotAuctions) > 0) {
            return FIRST_ID + last / HOT_EVERY * HOT_EVERY;
        }
        long first = Math.max(last - settings.auctionsInFlight, 0);
        return FIRST_ID + first + upper(draw, last - first + 1 + LEAD);
    }

    private long bidder(long number) {
        long draw = draw(number, 1);
        boolean hot = lower(draw, settings.hotBidders) > 0;
        return hot ? FIRST_ID + number / ROUND / HOT_EVERY * HOT_EVERY + 1 : anyPerson(draw, number);
    }

    private int channel(long number) {
        long draw = draw(number, 3);
        return (int) (lower(draw, 2) > 0 ? upper(draw, 4) : 4 + upper(draw, CHANNELS));
    }

    private void fillChannels() {
        String[] hot = {"Google", "Facebook", "Baidu", "Apple"};
        for (int channel = 0; channel < 4; channel++) {
            channels[channel] = StringData.fromString(hot[channel]);
            urls[channel] = StringData.fromString(baseUrl(draw(-1L - channel, 0)));
        }
        for (int channel = 0; channel < CHANNELS; channel++) {
            channels[4 + channel] = StringData.fromString("channel-" + channel);
            long draw = draw(-1L - channel, 1);
            String url = baseUrl(draw);
            boolean named = lower(draw, 10) != 0;
            urls[4 + channel] = StringData.fromString(named ? url + "&channel_id=" + Math.abs((long) Integer.reverse(channel)) : url);
        }
        for (StringData[] list : new StringData[][] {channels, urls}) {
            for (int place = 0; place < list.length; place++) {
                ((BinaryStringData) list[place]).ensureMaterialized();
            }
        }
    }

    private static String baseUrl(long draw) {
        String folders = new String(letters(draw, 15), StandardCharsets.US_ASCII);
        return "https://www.nexmark.com/" + folders.substring(0, 5) + "/" + folders.substring(5, 10) + "/"
                + folders.substring(10) + "/item.htm?query=1";
    }

    private Object auction(int column, long number) {
        return switch (column) {
            case 0 -> FIRST_ID + Math.max(lastAuction(number), 0);
            case 1 -> text(item(number));
            case 2 -> text(description(number));
            case 3 -> price(draw(number, 2));
            case 4 -> price(draw(number, 2)) + price(draw(number, 3));
            case 5 -> TimestampData.fromEpochMillis(millis(number));
            case 6 -> TimestampData.fromEpochMillis(expires(number));
            case 7 -> seller(number);
            case 8 -> 10 + upper(draw(number, 1), 5);
            default -> extra(
                    draw(number, 7), 48 + item(number).length + description(number).length, settings.auctionBytes);
        };
    }

    private byte[] item(long number) {
        return words(draw(number, 5), 20);
    }

    private byte[] description(long number) {
        return words(draw(number, 6), 100);
    }

    private long expires(long number) {
        long now = millis(number);
        long later = millis(number + settings.auctionsInFlight * ROUND / 3);
        return now + 1 + upper(draw(number, 4), Math.min(Math.max((later - now) * 2, 1), 1L << 32));
    }

    private long seller(long number) {
        long draw = draw(number, 0);
        boolean hot = lower(draw, settings.hotSellers) > 0;
        return hot ? FIRST_ID + number / ROUND / HOT_EVERY * HOT_EVERY : anyPerson(draw, number);
    }

    private Object person(int column, long number) {
        return switch (column) {
            case 0 -> FIRST_ID + number / ROUND;
            case 1 -> text(name(number));
            case 2 -> text(email(number));
            case 3 -> text(card(draw(number, 3), draw(number, 4)));
            case 4 -> city(number);
            case 5 -> state(number);
            case 6 -> TimestampData.fromEpochMillis(millis(number));
            default -> extra(draw(number, 7), personUsed(number), settings.personBytes);
        };
    }

    private byte[] name(long number) {
        long draw = draw(number, 0);
        byte[] first = FIRST_NAMES[(int) upper(draw, FIRST_NAMES.length)];
        return join(first, " ", LAST_NAMES[(int) lower(draw, LAST_NAMES.length)], "");
    }

    private byte[] email(long number) {
        long user = draw(number, 1);
        long host = draw(number, 2);
        return join(letters(user, 3 + (int) upper(user, 4)), "@", letters(host, 3 + (int) upper(host, 2)), ".com");
    }

    private StringData city(long number) {
        return CITIES[(int) upper(draw(number, 5), CITIES.length)];
    }

    private StringData state(long number) {
        return STATES[(int) upper(draw(number, 6), STATES.length)];
    }

    private int personUsed(long number) {
        return 8 + name(number).length + email(number).length + 19 + ((BinaryStringData) city(number)).getSizeInBytes() + 2;
    }

    private static byte[] card(long start, long end) {
        long[] groups = {upper(start, 10_000), lower(start, 10_000), upper(end, 10_000), lower(end, 10_000)};
        byte[] out = new byte[19];
        for (int place = 0; place < 4; place++) {
            int group = (int) groups[place];
            if (place > 0) {
                out[place * 5 - 1] = ' ';
            }
            for (int digit = 3; digit >= 0; digit--, group /= 10) {
                out[place * 5 + digit] = (byte) ('0' + group % 10);
            }
        }
        return out;
    }

    // === texts ===

    private static byte[] join(byte[] first, String between, byte[] second, String end) {
        byte[] out = new byte[first.length + between.length() + second.length + end.length()];
        System.arraycopy(first, 0, out, 0, first.length);
        for (int place = 0; place < between.length(); place++) {
            out[first.length + place] = (byte) between.charAt(place);
        }
        System.arraycopy(second, 0, out, first.length + between.length(), second.length);
        for (int place = 0; place < end.length(); place++) {
            out[first.length + between.length() + second.length + place] = (byte) end.charAt(place);
        }
        return out;
    }

    private static StringData text(byte[] bytes) {
        return BinaryStringData.fromBytes(bytes);
    }

    private static byte[][] bytes(String... texts) {
        return java.util.Arrays.stream(texts).map(text -> text.getBytes(StandardCharsets.US_ASCII)).toArray(byte[][]::new);
    }

    private static StringData[] texts(String... texts) {
        return java.util.Arrays.stream(bytes(texts)).map(Rows::text).toArray(StringData[]::new);
    }
}
