import java.nio.file.Path;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/** Streams BROKERS INPUT OUTPUT at-least-once|exactly-once COMMIT_MS LINGER_MS: upper-cases values, until it is killed. */
public final class Streams {
    public static void main(String[] arguments) {
        String brokers = arguments[0], input = arguments[1], output = arguments[2];
        boolean exactlyOnce = arguments[3].equals("exactly-once");
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("application.id", output);
        settings.put("state.dir", Path.of("state").toAbsolutePath().toString());
        settings.put("replication.factor", 1);
        settings.put("num.stream.threads", 1);
        settings.put("processing.guarantee", exactlyOnce ? "exactly_once_v2" : "at_least_once");
        settings.put("commit.interval.ms", Integer.parseInt(arguments[4]));
        settings.put("auto.offset.reset", "earliest");
        settings.put("producer.linger.ms", Integer.parseInt(arguments[5]));
        // For throughput: with the defaults it is slower.
        settings.put("producer.batch.size", 524288);
        settings.put("producer.buffer.memory", 134217728L);
        settings.put("consumer.max.poll.records", 5000);
        settings.put("buffered.records.per.partition", 10000);
        settings.put("consumer.fetch.max.bytes", 52428800);
        settings.put("consumer.max.partition.fetch.bytes", 4194304);
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .mapValues(Streams::upperCase)
            .to(output, Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        new KafkaStreams(builder.build(), settings).start();
    }

    private static byte[] upperCase(byte[] value) {
        byte[] upper = value.clone();
        for (int i = 0; i < upper.length; i++) {
            if (upper[i] >= 'a' && upper[i] <= 'z') {
                upper[i] -= 32;
            }
        }
        return upper;
    }
}
