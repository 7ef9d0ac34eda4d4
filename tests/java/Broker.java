/**
 * A Kafka node: formats its storage if that was not done yet, then runs the server, in one JVM
 * instead of two. Arguments: the server's properties file and the cluster's id.
 */
public final class Broker {
    private Broker() {}

    public static void main(String[] args) {
        String properties = args[0];
        String clusterId = args[1];
        String[] format = {"format", "--ignore-formatted", "--cluster-id", clusterId, "--config", properties};
        int code = kafka.tools.StorageTool.execute(format, System.err);
        if (code != 0) {
            System.exit(code);
        }
        kafka.Kafka.main(new String[] {properties});
    }
}
