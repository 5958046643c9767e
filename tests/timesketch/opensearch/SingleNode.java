// One genuine OpenSearch node inside this JVM, from the jars on the class path. For tests: it
// listens where HOME/config/opensearch.yml says and must stay on loopback.
//
// usage: java -cp 'LIB/*' SingleNode HOME [--once]
//
// With --once it ends as soon as it has started, which is all that an archive of its classes needs.
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.opensearch.Version;
import org.opensearch.cluster.service.ClusterService;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

public class SingleNode extends Node {
    // What the distribution loads from its folder of modules and Timesketch needs: names of
    // classes, less "ModulePlugin" (OpenSearch 3) or "Plugin" (OpenSearch 2).
    static final String[] MODULES = {
        "org.opensearch.analysis.common.CommonAnalysis",
        "org.opensearch.painless.Painless",
        "org.opensearch.index.reindex.Reindex",
        "org.opensearch.index.mapper.MapperExtras",
        "org.opensearch.transport.Netty4",
    };

    // OpenSearch 2 takes classes here and OpenSearch 3 PluginInfo: the raw type fits both.
    @SuppressWarnings({"unchecked", "rawtypes"})
    SingleNode(Environment environment, Collection plugins) {
        super(environment, plugins, true);
    }

    @Override
    protected void configureNodeAndClusterIdStateListener(ClusterService clusterService) {
        // The node's id only adorns lines of the log, and the listener registers once per JVM.
    }

    // The classes named above, in the form that this version takes.
    static List<Object> plugins() throws ClassNotFoundException {
        boolean two = Version.CURRENT.major < 3;
        String java = Integer.toString(Runtime.version().feature());
        List<Object> plugins = new ArrayList<>();
        for (String module : MODULES) {
            String name = module + (two ? "Plugin" : "ModulePlugin");
            Class<?> plugin = Class.forName(name);
            plugins.add(
                two ? plugin
                    : new PluginInfo(
                        name, "on the class path", "NA", Version.CURRENT, java, name, Collections.emptyList(), false));
        }
        return plugins;
    }

    public static void main(String[] arguments) throws Exception {
        Path home = Path.of(arguments[0]).toAbsolutePath();
        Settings settings = Settings.builder().put("path.home", home.toString()).build();
        Environment environment =
            InternalSettingsPreparer.prepareEnvironment(
                settings, Collections.emptyMap(), home.resolve("config"), () -> "test");
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));
        LogConfigurator.configure(environment);
        SingleNode node = new SingleNode(environment, plugins());
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
                node.awaitClose(10, TimeUnit.SECONDS);
            } catch (Exception e) {
                e.printStackTrace();
            }
            closed.countDown();
        }));
        node.start();
        if (arguments.length > 1) {
            System.exit(0);
        }
        closed.await();
    }
}
