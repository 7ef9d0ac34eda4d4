import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Reads and writes the harness's record file; {@code src/record.rs} describes its format. */
final class RecordFile {
    private static final int UNKNOWN = -1;

    private RecordFile() {}

    /** Gives each record of a file, one at a time, as one to be produced to a topic. */
    static void read(Path file, String topic, Consumer<ProducerRecord<byte[], byte[]>> each) throws IOException {
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(Files.newInputStream(file), 1 << 20))) {
            while (true) {
                int partition;
                try {
                    partition = in.readInt();
                } catch (EOFException end) {
                    return;
                }
                in.readLong(); // The offset is the broker's to give.
                long timestamp = in.readLong();
                byte[] key = readBytes(in);
                byte[] value = readBytes(in);
                int count = in.readInt();
                List<Header> headers = new ArrayList<>(count);
                for (int i = 0; i < count; i++) {
                    String name = new String(readBytes(in), StandardCharsets.UTF_8);
                    headers.add(new RecordHeader(name, readBytes(in)));
                }
                each.accept(new ProducerRecord<>(
                        topic,
                        partition == UNKNOWN ? null : Integer.valueOf(partition),
                        timestamp == UNKNOWN ? null : Long.valueOf(timestamp),
                        key,
                        value,
                        headers));
            }
        }
    }

    static DataOutputStream create(Path file) throws IOException {
        return new DataOutputStream(new BufferedOutputStream(Files.newOutputStream(file), 1 << 20));
    }

    static void write(DataOutputStream out, ConsumerRecord<byte[], byte[]> record) throws IOException {
        out.writeInt(record.partition());
        out.writeLong(record.offset());
        out.writeLong(record.timestamp());
        writeBytes(out, record.key());
        writeBytes(out, record.value());
        Header[] headers = record.headers().toArray();
        out.writeInt(headers.length);
        for (Header header : headers) {
            writeBytes(out, header.key().getBytes(StandardCharsets.UTF_8));
            writeBytes(out, header.value());
        }
    }

    private static byte[] readBytes(DataInputStream in) throws IOException {
        int length = in.readInt();
        return length == UNKNOWN ? null : in.readNBytes(length);
    }

    private static void writeBytes(DataOutputStream out, byte[] bytes) throws IOException {
        if (bytes == null) {
            out.writeInt(UNKNOWN);
        } else {
            out.writeInt(bytes.length);
            out.write(bytes);
        }
    }
}
